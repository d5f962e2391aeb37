defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Names do
  @moduledoc false
  # What is noted of the processes of a stack: their names, and which store the owner
  # has. The table belongs to the process in which the application was started, so it
  # lasts as long as the application: no process of ours that is killed takes a name
  # with it. `Stores` takes out what was noted of a process once that has ended.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Stores

  @typedoc "A name of a process, or what is noted of a stack."
  @type key ::
          {:name, {String.t(), module()}} | {:store, String.t()} | {:reporter, owner :: pid()}

  @doc "Makes the table, which the calling process owns."
  @spec create() :: :ok
  def create do
    _ = :ets.new(__MODULE__, [:named_table, :public, :set, read_concurrency: true])
    :ok
  end

  @doc "Why nothing can be noted, if it cannot."
  @spec check_started() :: :ok | {:error, String.t()}
  def check_started do
    case :ets.whereis(__MODULE__) do
      :undefined ->
        {:error,
         "the application :electric_shape_db is not started; it starts with a host that " <>
           "has it as a dependency, or by Application.ensure_all_started(:electric_shape_db)"}

      _table ->
        :ok
    end
  end

  @doc "`stack_ref` is a stack id, or a keyword list that has one."
  @spec name(String.t() | keyword(), module()) :: GenServer.name()
  def name(stack_id, module) when is_binary(stack_id) do
    {:via, __MODULE__, {stack_id, module}}
  end

  def name(stack_ref, module) do
    case Keyword.keyword?(stack_ref) and stack_ref[:stack_id] do
      stack_id when is_binary(stack_id) -> name(stack_id, module)
      _none -> Arguments.refuse!(stack_ref: stack_ref)
    end
  end

  # --- the names, as `:via` asks for them

  @doc false
  @spec register_name({String.t(), module()}, pid()) :: :yes | :no
  def register_name(name, pid) do
    cond do
      note_new({:name, name}, pid) ->
        :yes

      whereis_name(name) == :undefined ->
        # The name is of a process that has ended just now, or of nobody by this time.
        forget_if({:name, name}, &(not Process.alive?(&1)))
        register_name(name, pid)

      true ->
        :no
    end
  end

  @doc false
  @spec unregister_name({String.t(), module()}) :: :ok
  def unregister_name(name), do: forget({:name, name}, self())

  @doc false
  @spec whereis_name({String.t(), module()}) :: pid() | :undefined
  def whereis_name(name) do
    with :ok <- check_started(),
         [{_key, pid, _what}] <- :ets.lookup(__MODULE__, {:name, name}),
         true <- Process.alive?(pid) do
      pid
    else
      _nobody -> :undefined
    end
  end

  @doc false
  @spec send({String.t(), module()}, term()) :: pid()
  def send(name, message) do
    case whereis_name(name) do
      :undefined ->
        exit({:badarg, {name, message}})

      pid ->
        Kernel.send(pid, message)
        pid
    end
  end

  # --- what is noted

  @doc "Notes something of a process for as long as that lives."
  @spec note(key(), pid(), term()) :: :ok
  def note(key, pid, what) do
    true = :ets.insert(__MODULE__, {key, pid, what})
    Stores.watch(pid, key)
  end

  defp note_new(key, pid) do
    new? = :ets.insert_new(__MODULE__, {key, pid, nil})
    if new?, do: Stores.watch(pid, key)
    new?
  end

  @doc "What is noted."
  @spec noted(key()) :: {:ok, term()} | :error
  def noted(key) do
    case :ets.lookup(__MODULE__, key) do
      [{_key, _pid, what}] -> {:ok, what}
      [] -> :error
    end
  end

  @doc "The stacks that have a store."
  @spec stack_ids() :: [String.t()]
  def stack_ids, do: :ets.select(__MODULE__, [{{{:store, :"$1"}, :_, :_}, [], [:"$1"]}])

  @doc "Of whom what is noted."
  @spec notes() :: [{pid(), key()}]
  def notes, do: :ets.select(__MODULE__, [{{:"$1", :"$2", :_}, [], [{{:"$2", :"$1"}}]}])

  @doc "Takes out what is noted of a process."
  @spec forget(key(), pid()) :: :ok
  def forget(key, pid), do: forget_if(key, &(&1 == pid))

  defp forget_if(key, of?) do
    for {_key, pid, _what} = row <- :ets.lookup(__MODULE__, key), of?.(pid) do
      # That very row: somebody else may have taken its key in the meantime.
      :ets.delete_object(__MODULE__, row)
    end

    :ok
  end
end
