defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Stores do
  @moduledoc false
  # Which store a stack has, and the settings its callers need, in a persistent
  # term, as it is asked for on every request. The entry of an owner that ended is
  # taken out by this process, so that a stack that was killed is "not running" and
  # its memory is given back.

  use GenServer

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Error
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Native
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Options

  # Each call of a request process counts against its timeslice.
  @compile {:inline, get: 1}

  @type stack_id :: String.t()

  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc "Makes `store` the one of the stack, for as long as the caller lives."
  @spec put(stack_id(), Native.store(), Options.t()) :: :ok
  def put(stack_id, store, options) do
    GenServer.call(__MODULE__, {:put, stack_id, {store, options}, self()})
  end

  @doc "The store of a stack, and the options it was started with."
  @spec get(stack_id()) :: {Native.store(), Options.t()} | nil
  def get(stack_id), do: :persistent_term.get({__MODULE__, stack_id}, nil)

  @spec fetch(stack_id()) :: {:ok, Native.store()} | {:error, String.t()}
  def fetch(stack_id) do
    case get(stack_id) do
      {store, _options} -> {:ok, store}
      nil -> {:error, not_running(stack_id)}
    end
  end

  @doc "As `fetch/1`, raising an error that names the stack and what was tried."
  @spec fetch!(stack_id(), atom()) :: Native.store()
  def fetch!(stack_id, action) do
    case get(stack_id) do
      {store, _options} -> store
      nil -> raise Error, action: action, error: not_running(stack_id)
    end
  end

  @spec not_running(stack_id()) :: String.t()
  def not_running(stack_id), do: "the stack #{inspect(stack_id)} is not running"

  @impl true
  def init(nil), do: {:ok, %{}}

  @impl true
  def handle_call({:put, stack_id, entry, owner}, _from, owners) do
    :persistent_term.put({__MODULE__, stack_id}, entry)
    {:reply, :ok, Map.put(owners, Process.monitor(owner), {stack_id, entry})}
  end

  @impl true
  def handle_info({:DOWN, monitor, :process, _owner, _reason}, owners) do
    {{stack_id, entry}, owners} = Map.pop!(owners, monitor)

    # The stack may have started again in the meantime.
    if get(stack_id) == entry, do: :persistent_term.erase({__MODULE__, stack_id})
    {:noreply, owners}
  end
end
