# Serves the chat over gRPC.

require 'logger'
require 'openssl'
require_relative 'chat'

PUSH_TIMEOUT = 10 # seconds; the gateway answers within 5
GRACE = 10 # seconds, for what is under way at a stop
THREADS = 16

# The gem logs nothing by itself, not even what a handler raises.
LOGGER = Logger.new($stderr, level: Logger::WARN)
def GRPC.logger = LOGGER

# One that is empty is not set.
def variable(name, default = nil)
  value = ENV.fetch(name, '')
  value.empty? ? default : value
end

# Whoever can call this service speaks in the name of any user.
class OnlyWithToken < GRPC::ServerInterceptor
  def request_response(call:, **)
    given = call.metadata['authorization'].to_s
    return yield if OpenSSL.secure_compare(given, "Bearer #{@options[:token]}")

    raise GRPC::Unauthenticated, 'wrong token'
  end
end

gateway = Myxi::V1::Gateway::Stub.new(
  variable('MYXI_GATEWAY', '127.0.0.1:5006'), :this_channel_is_insecure, timeout: PUSH_TIMEOUT,
  # It is not behind a company's proxy, whatever `http_proxy` says.
  channel_args: { 'grpc.enable_http_proxy' => 0 }
)
gateway_token = variable('MYXI_GRPC_TOKEN')
token = variable('MYXI_ACTION_HANDLER_TOKEN')

server = GRPC::RpcServer.new(
  pool_size: THREADS,
  # Calls are cancelled after the first, and their threads killed after the second; by default 1 s each.
  poll_period: GRACE / 2,
  pool_keep_alive: GRACE / 2,
  # By default a second process could listen here, too, and calls would go to either.
  server_args: { 'grpc.so_reuseport' => 0 },
  interceptors: token ? [OnlyWithToken.new(token: token)] : []
)
server.add_http2_port(variable('LISTEN', '127.0.0.1:50051'), :this_port_is_insecure)
server.handle(Chat.new(gateway, gateway_token ? { 'authorization' => "Bearer #{gateway_token}" } : {}))
server.run_till_terminated_or_interrupted(%w[TERM INT], 1) # looks for a signal once a second, too
