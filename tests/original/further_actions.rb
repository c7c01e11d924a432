# Beside those of docs/from-myxi.md.

Myxi::Action.add(:Count) do |session, _|
  auth_required!
  session[:count] = (session[:count] || 0) + 1
  session.send('Counted', count: session[:count], by: session.auth_object.username)
end
Myxi::Action.add(:Raise) { |_, payload| raise ArgumentError, payload['text'] }
Myxi::Action.add(:Follow) { |session, payload| session.subscribe(:widgets, payload['id']) }
Myxi::Action.add(:Leave) { |session, _| session.auth_object = nil }
