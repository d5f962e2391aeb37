defmodule ElectricShapeDb.Torture.Plan do
  @moduledoc """
  The steps of one worker in one cycle, drawn from a seed: the VM that takes them
  and the one that judges draw the same, so a log of them is only their numbers.
  """

  alias ElectricShapeDb.Samples

  @enforce_keys [:worker, :cycle, :rand, :shapes]
  defstruct [:worker, :cycle, :rand, :shapes, :removed, step: 0]

  @few 10
  @many 60

  @type snapshot :: :none | :started | :complete
  @type shapes :: %{String.t() => snapshot()}
  @type t :: %__MODULE__{worker: pos_integer(), shapes: shapes()}
  @type step :: {:add | :remove | :started | :complete, String.t(), term()}

  @doc "The plan of a worker that starts with these shapes."
  @spec new(integer(), non_neg_integer(), pos_integer(), shapes()) :: t()
  def new(seed, cycle, worker, shapes) do
    rand = :rand.seed_s(:exsss, {seed, cycle, worker})
    %__MODULE__{worker: worker, cycle: cycle, rand: rand, shapes: shapes}
  end

  @doc "The next step, and the plan with the shapes there are after it."
  @spec next(t()) :: {step(), t()}
  def next(plan) do
    plan = %{plan | step: plan.step + 1}
    {operation, plan} = operation(plan)
    {handle, plan} = handle(operation, plan)
    {durability, plan} = draw(plan, [:buffered, :buffered, :sync, {:sync, 50}])
    {{operation, handle, durability}, apply_step(operation, handle, plan)}
  end

  defp operation(plan) do
    case map_size(plan.shapes) do
      n when n < @few -> {:add, plan}
      n when n > @many -> {:remove, plan}
      _ -> draw(plan, [:add, :add, :add, :again, :remove, :remove, :remove, :started, :complete])
    end
  end

  # What was removed just now comes again, while its removal may be pending.
  defp handle(:again, %{removed: removed} = plan) when removed != nil, do: {removed, plan}

  defp handle(operation, plan) when operation in [:add, :again],
    do: {"#{plan.worker}-#{plan.cycle}-#{plan.step}", plan}

  defp handle(_operation, plan), do: draw(plan, Enum.sort(Map.keys(plan.shapes)))

  defp draw(plan, choices) do
    {n, rand} = :rand.uniform_s(length(choices), plan.rand)
    {Enum.at(choices, n - 1), %{plan | rand: rand}}
  end

  defp apply_step(operation, handle, plan) when operation in [:add, :again],
    do: %{plan | shapes: Map.put(plan.shapes, handle, :none), removed: nil}

  defp apply_step(:remove, handle, plan),
    do: %{plan | shapes: Map.delete(plan.shapes, handle), removed: handle}

  defp apply_step(:started, handle, plan),
    do: put_in(plan.shapes[handle], later(plan.shapes[handle], :started))

  defp apply_step(:complete, handle, plan), do: put_in(plan.shapes[handle], :complete)

  defp later(:complete, _snapshot), do: :complete
  defp later(_before, snapshot), do: snapshot

  @doc "Whose shape it is."
  @spec worker(String.t()) :: pos_integer()
  def worker(handle), do: handle |> String.split("-") |> hd() |> String.to_integer()

  @doc "The shape that belongs to a handle; some are long."
  @spec shape(String.t()) :: Electric.Shapes.Shape.t()
  def shape(handle) do
    filler = String.duplicate("x", :erlang.phash2(handle, 4_000))
    Samples.shape("#{handle} AND note <> '#{filler}'")
  end
end
