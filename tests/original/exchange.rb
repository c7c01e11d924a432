# Of the Ruby original's gem: where blocks are kept, and how they are called.

module Myxi
  class Exchange
    EXCHANGES = {}
    def self.add(name, &block) = EXCHANGES[name] = new(block)
    def initialize(block) = @block = block
    def can_subscribe?(key, user) = @block.call(key, user)
  end
end
