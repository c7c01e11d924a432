# Of Rails, for the handler of docs/from-myxi.md: the executor, and a model.

module Rails
  Executor = Struct.new(:wrapped) do
    def wrap
      self.wrapped += 1
      yield
    end
  end
  Application = Struct.new(:executor)
  def self.application = @application ||= Application.new(Executor.new(0))
end

User = Struct.new(:id, :token, :username) do
  def self.find_by(wanted)
    all = [new(7, 'sesame', 'adam'), new(8, 'demo-token', 'eve')]
    all.find { |user| wanted.all? { |name, value| user[name] == value } }
  end
end
