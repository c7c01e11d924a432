# Publishes as the Ruby original does: a direct exchange by its name, declared as bunny declares
# one by default, and `{"event","payload"}` as JSON, without confirms.
#
# Reads lines of [exchange, routing key, event, payload], and says so when one is written.

require "bunny"
require "json"

connection = Bunny.new(ARGV.fetch(0))
connection.start
channel = connection.create_channel
exchanges = Hash.new { |known, name| known[name] = channel.direct(name) }

$stdout.sync = true
puts "connected"
$stdin.each_line do |line|
  exchange, routing_key, event, payload = JSON.parse(line)
  body = { event: event, payload: payload }.to_json
  exchanges[exchange].publish(body, routing_key: routing_key.to_s)
  puts "published"
end
