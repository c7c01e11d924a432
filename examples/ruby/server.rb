# Serves the chat over gRPC.

require 'openssl'
require_relative 'chat'

PUSH_TIMEOUT = 10 # seconds; the gateway answers within 5
GRACE = 10 # seconds, for what is under way at a stop
THREADS = 16

# Whoever can call this service speaks in the name of any user.
class OnlyWithToken < GRPC::ServerInterceptor
  def request_response(call:, **)
    given = call.metadata['authorization'].to_s
    return yield if OpenSSL.secure_compare(given, "Bearer #{@options[:token]}")

    raise GRPC::Unauthenticated, 'wrong token'
  end
end

gateway = Myxi::V1::Gateway::Stub.new(
  ENV.fetch('MYXI_GATEWAY', '127.0.0.1:5006'), :this_channel_is_insecure, timeout: PUSH_TIMEOUT
)
gateway_token = ENV.fetch('MYXI_GRPC_TOKEN', nil)
token = ENV.fetch('MYXI_ACTION_HANDLER_TOKEN', nil)

server = GRPC::RpcServer.new(
  pool_size: THREADS,
  # Calls are cancelled after the first, and their threads killed after the second; by default 1 s each.
  poll_period: GRACE,
  pool_keep_alive: GRACE,
  interceptors: token ? [OnlyWithToken.new(token: token)] : []
)
server.add_http2_port(ENV.fetch('LISTEN', '127.0.0.1:50051'), :this_port_is_insecure)
server.handle(Chat.new(gateway, gateway_token ? { 'authorization' => "Bearer #{gateway_token}" } : {}))
server.run_till_terminated_or_interrupted(%w[TERM INT])
