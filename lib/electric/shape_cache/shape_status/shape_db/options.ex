defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Options do
  # The longest that `receive` can wait, some 49 days, and a size that no machine has.
  @longest Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments.longest()
  @largest 0x10000000000

  @default_synchronous "OFF"
  @default_cache_size 4 * 1024 * 1024

  # `name: {default, type, what it is}`
  @schema [
    storage_dir:
      {nil, :path,
       "Required. The folder under which the database file is kept, " <>
         "or `\":memory:\"` together with `exclusive_mode: true`."},
    exclusive_mode:
      {false, :boolean,
       "One connection for everything and `journal_mode=DELETE`, " <>
         "for network file systems."},
    synchronous:
      {@default_synchronous, {:one_of, ["OFF", "NORMAL", "FULL"]},
       "SQLite's `synchronous`; see the durability guide for what each survives."},
    cache_size:
      {@default_cache_size, {0, @largest},
       "Bytes of shapes kept in memory after their commit, so that `shape_for_handle/2` " <>
         "finds them without reading the file."},
    read_pool_size:
      {nil, {1, 10_000},
       "How many read connections may be checked out at a time. " <>
         "Two a scheduler by default."},
    connection_idle_timeout:
      {30_000, {0, @longest}, "Milliseconds after which an unused connection closes."},
    manual_flush_only:
      {false, :boolean, "Commit only when `WriteBuffer.flush_sync/2` asks for it, or at the end."},
    durability:
      {:buffered, :durability,
       "When a change is acknowledged: `:buffered` once it is queued, " <>
         "`:sync` once it is committed, `{:sync, ms}` once it is committed or that long after."},
    max_pending_ops:
      {250_000, {1, 1_000_000_000},
       "How many operations may be queued. Who finds the queue full waits."},
    max_pending_bytes:
      {256 * 1024 * 1024, {1, @largest}, "How many bytes of shapes may be queued."},
    pending_timeout:
      {5_000, {0, @longest},
       "Milliseconds a caller waits for room in a full queue before it " <>
         "gets `{:error, :overloaded}`."},
    external_checkpoint:
      {false, :boolean,
       "Leave checkpoints to a process that replicates the file by its log, such as Litestream: " <>
         "none is made here, the connection stays open, and the log stays when the stack stops. " <>
         "See the replication guide. Not with `exclusive_mode`, which has no log."},
    keep_last_read_times:
      {true, :boolean,
       "Whether the file says when shapes were last read, so that a restart does not forget " <>
         "which are cold. Without it, all that are there at the start were read then."},
    flags:
      {nil, :flags,
       "What the eight flags of a shape are: `{version, fun}`, a whole number or a string, and a " <>
         "function of a shape that gives 0..255. Where the file was written under another " <>
         "version, or was taken over from schema 4, all flags are computed anew when the " <>
         "store becomes the writer."},
    enable_stats?:
      {false, :boolean, "Accepted for hosts that pass it, and ignored: statistics cost nothing."},
    enable_memory_stats?: {false, :boolean, "Accepted for hosts that pass it, and ignored."}
  ]

  @moduledoc """
  The options of a store, `shape_db_opts`.

  `nil` for a value means its default. An option that is not listed, or a value
  of another type, is an error that names it.

  #{for {name, {default, _type, text}} <- @schema do
    default = if default == nil, do: "", else: " Default: `#{inspect(default)}`."
    "  * `:#{name}` - #{text}#{default}\n"
  end}
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Error

  defstruct Keyword.keys(@schema)

  @type durability :: :buffered | :sync | {:sync, non_neg_integer()}
  @type t :: %__MODULE__{
          storage_dir: String.t(),
          exclusive_mode: boolean(),
          synchronous: String.t(),
          cache_size: non_neg_integer(),
          read_pool_size: pos_integer(),
          connection_idle_timeout: non_neg_integer(),
          manual_flush_only: boolean(),
          durability: durability(),
          max_pending_ops: pos_integer(),
          max_pending_bytes: pos_integer(),
          pending_timeout: non_neg_integer(),
          external_checkpoint: boolean(),
          keep_last_read_times: boolean(),
          flags: flags() | nil
        }

  @type flags :: {version :: non_neg_integer() | String.t(), (shape :: struct() -> byte())}

  # Hosts hand the whole list of a stack's options around, and these are in it too.
  @elsewhere [:stack_id, :shape_db_opts]

  @doc """
  Validates the options and fills in the defaults.

      iex> {:ok, options} = Options.new(storage_dir: "/var/lib/electric", cache_size: nil)
      iex> {options.storage_dir, options.cache_size}
      {"/var/lib/electric", 4_194_304}
      iex> Options.new(storage_dir: "/var/lib/electric", synchronous: "EXTRA")
      {:error, ~s(option :synchronous takes one of "OFF", "NORMAL", "FULL", not "EXTRA")}
  """
  @spec new(keyword()) :: {:ok, t()} | {:error, String.t()}
  def new(opts) do
    if Keyword.keyword?(opts) do
      opts
      |> Keyword.drop(@elsewhere)
      |> Enum.reduce_while({:ok, []}, fn {name, value}, {:ok, seen} ->
        case check(name, value) do
          :ok -> {:cont, {:ok, [{name, value} | seen]}}
          {:error, reason} -> {:halt, {:error, reason}}
        end
      end)
      |> build()
    else
      {:error, "shape_db_opts is a keyword list, not #{Arguments.shown(opts)}"}
    end
  end

  @doc """
  As `new/1`, raising the error.

      iex> Options.new!(storage_dir: "/var/lib/electric").durability
      :buffered
  """
  @spec new!(keyword()) :: t()
  def new!(opts) do
    case new(opts) do
      {:ok, options} -> options
      {:error, reason} -> raise Error, action: :start, error: reason
    end
  end

  @doc """
  The defaults of the options that are SQLite's own.

      iex> Options.sqlite_defaults()[:synchronous]
      "OFF"
  """
  @spec sqlite_defaults() :: keyword()
  def sqlite_defaults, do: [synchronous: @default_synchronous, cache_size: @default_cache_size]

  @doc false
  @spec check(atom(), term()) :: :ok | {:error, String.t()}
  def check(name, value) do
    case Keyword.fetch(@schema, name) do
      :error ->
        known = Enum.map_join(Keyword.keys(@schema), ", ", &inspect/1)
        {:error, "unknown option #{inspect(name)}; there are #{known}"}

      {:ok, {_default, type, _text}} ->
        if value == nil or valid?(type, value),
          do: :ok,
          else: {:error, "option #{inspect(name)} takes #{words(type)}, not #{inspect(value)}"}
    end
  end

  defp build({:error, reason}), do: {:error, reason}

  defp build({:ok, given}) do
    options =
      for {name, {default, _type, _text}} <- @schema, into: %{} do
        # `false` is a value, `nil` is none.
        case given[name] do
          nil -> {name, default}
          value -> {name, value}
        end
      end

    options = Map.update!(options, :read_pool_size, &(&1 || 2 * System.schedulers_online()))

    cond do
      options.storage_dir == nil ->
        {:error, "option :storage_dir is missing: a folder for the database, or \":memory:\""}

      options.storage_dir == ":memory:" and not options.exclusive_mode ->
        {:error, "option :storage_dir \":memory:\" needs exclusive_mode: true"}

      options.external_checkpoint and options.exclusive_mode ->
        {:error,
         "option :external_checkpoint does not go together with exclusive_mode: true, " <>
           "in which there is no write-ahead log"}

      true ->
        {:ok, struct!(__MODULE__, options)}
    end
  end

  defp valid?(:path, value),
    do: is_binary(value) and value != "" and not String.contains?(value, <<0>>)

  defp valid?(:boolean, value), do: is_boolean(value)

  defp valid?({least, most}, value) when is_integer(least),
    do: is_integer(value) and value in least..most

  defp valid?({:one_of, values}, value), do: value in values
  defp valid?(:durability, {:sync, ms}), do: valid?({0, @longest}, ms)
  defp valid?(:durability, value), do: value in [:buffered, :sync]

  defp valid?(:flags, {version, fun}) when is_function(fun, 1),
    do: (is_integer(version) and version >= 0) or (is_binary(version) and String.valid?(version))

  defp valid?(:flags, _value), do: false

  defp words(:path), do: "a path"
  defp words(:boolean), do: "true or false"
  defp words({least, most}) when is_integer(least), do: "a whole number from #{least} to #{most}"
  defp words({:one_of, values}), do: "one of #{Enum.map_join(values, ", ", &inspect/1)}"
  defp words(:flags), do: "{version, function of a shape}"

  defp words(:durability),
    do: ":buffered, :sync or {:sync, milliseconds} with up to #{@longest} of them"
end
