# The handler of ../README.md in Ruby: GRPC::RpcServer with its thread pool.

require 'grpc'
require 'myxi/v1/action_handler_services_pb'

$stdout.sync = true
PRINTING = Mutex.new
GO_ON = Queue.new

def say(what, about)
  PRINTING.synchronize { puts "#{what} #{about}" }
end

class Handler < Myxi::V1::ActionHandler::Service
  def handle_action(request, _call)
    say('began', request.payload)
    case request.action
    when 'Hold' then GO_ON.pop
    when 'Wait' then sleep(request.payload.to_f)
    when 'Throw' then raise ArgumentError, 'thrown by the handler'
    end
    say('finished', request.payload)
    text = 'x' * (request.action == 'Large' ? 4096 : 0)
    event = Myxi::V1::Event.new(event: 'Answer', payload: "\"#{text}\"")
    Myxi::V1::HandleActionResponse.new(events: [event])
  end

  def check_subscriptions(request, _call)
    allowed = request.session.id.empty? ? :DECISION_DENY : :DECISION_ALLOW
    decisions = request.topics.map { allowed }
    Myxi::V1::CheckSubscriptionsResponse.new(decisions: decisions)
  end
end

class Token < GRPC::ServerInterceptor
  def request_response(call:, **)
    return yield if call.metadata['authorization'] == "Bearer #{@options[:token]}"

    raise GRPC::Unauthenticated, 'wrong token'
  end
end

given = ARGV.to_h { |argument| argument.split('=', 2).then { |name, value| [name, value] } }
arguments = {}
arguments['grpc.max_receive_message_length'] = given['max-receive'].to_i if given['max-receive']
arguments['grpc.max_send_message_length'] = given['max-send'].to_i if given['max-send']
if given.key?('gzip')
  compression = GRPC::Core::CompressionOptions.new(default_algorithm: :gzip)
  arguments.merge!(compression.to_channel_arg_hash)
end
server = GRPC::RpcServer.new(
  pool_size: given.fetch('workers', 4).to_i,
  # Handlers that still run after this are killed when it is stopped; by default 1 s.
  pool_keep_alive: 60,
  server_args: arguments,
  interceptors: given['token'] ? [Token.new(token: given['token'])] : []
)
port = server.add_http2_port('127.0.0.1:0', :this_port_is_insecure)
server.handle(Handler)
serving = Thread.new { server.run }
server.wait_till_running
say('port', port)
stopping = nil
while (line = $stdin.gets)
  stopping ||= Thread.new { server.stop } if line == "stop\n"
  break if line == "go on\n"
end
GO_ON.close
stopping ? stopping.join : server.stop
serving.join
