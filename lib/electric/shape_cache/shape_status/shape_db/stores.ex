defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Stores do
  @moduledoc false
  # Which store a stack has, in a persistent term, as it is asked for on every
  # request. The entry of an owner that ended is taken out by this process, so
  # that a stack that was killed is "not running" and its memory is given back.

  use GenServer

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Error
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Native

  @type stack_id :: String.t()

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  Makes `store` the one of the stack, for as long as the caller lives, with the
  settings its callers need.
  """
  @spec put(stack_id(), Native.store(), map()) :: :ok
  def put(stack_id, store, settings) do
    GenServer.call(__MODULE__, {:put, stack_id, store, settings, self()})
  end

  @spec fetch(stack_id()) :: {:ok, Native.store()} | :error
  def fetch(stack_id) do
    case :persistent_term.get({__MODULE__, stack_id}, nil) do
      nil -> :error
      store -> {:ok, store}
    end
  end

  @doc "The store of a stack, or an error that names the stack and what was tried."
  @spec fetch!(stack_id(), atom()) :: Native.store()
  def fetch!(stack_id, action) do
    case :persistent_term.get({__MODULE__, stack_id}, nil) do
      nil -> raise Error, action: action, error: not_running(stack_id)
      store -> store
    end
  end

  @doc "A setting of the stack, or `default` when it does not run."
  @spec setting(stack_id(), atom(), term()) :: term()
  def setting(stack_id, name, default) do
    case :persistent_term.get({__MODULE__, :settings, stack_id}, nil) do
      %{^name => value} -> value
      _ -> default
    end
  end

  @spec not_running(stack_id()) :: String.t()
  def not_running(stack_id), do: "the stack #{inspect(stack_id)} is not running"

  @impl true
  def init(nil), do: {:ok, %{}}

  @impl true
  def handle_call({:put, stack_id, store, settings, owner}, _from, owners) do
    :persistent_term.put({__MODULE__, :settings, stack_id}, settings)
    :persistent_term.put({__MODULE__, stack_id}, store)
    {:reply, :ok, Map.put(owners, Process.monitor(owner), {stack_id, store})}
  end

  @impl true
  def handle_info({:DOWN, monitor, :process, _owner, _reason}, owners) do
    {{stack_id, store}, owners} = Map.pop!(owners, monitor)

    # The stack may have started again in the meantime.
    if fetch(stack_id) == {:ok, store} do
      :persistent_term.erase({__MODULE__, stack_id})
      :persistent_term.erase({__MODULE__, :settings, stack_id})
    end

    {:noreply, owners}
  end
end
