# Of the Ruby original's gem: where blocks are kept, and how they are called.

module Myxi
  class Action
    ACTIONS = {}
    AuthRequired = Class.new(StandardError)
    Environment = Struct.new(:session) do
      def auth_required! = session.auth_object || raise(AuthRequired)
    end
    def self.add(name, &block) = ACTIONS[name] = new(block)
    def initialize(block) = @block = block

    def execute(session, payload)
      Environment.new(session).instance_exec(session, payload, &@block)
    rescue AuthRequired
      session.send('Error', error: 'AuthRequired')
    rescue StandardError => e
      session.send('InternalError', error: e.class.to_s, message: e.message)
    end
  end
end
