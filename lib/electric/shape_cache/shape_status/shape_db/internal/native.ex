defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native.Load do
  @moduledoc false
  # Loads the NIFs into a module, when all its stubs are known: a library with fewer of them
  # would be missed at the first call only.

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.NativeLibrary

  defmacro __before_compile__(env) do
    stubs = length(Module.definitions_in(env.module, :def))

    quote do
      @doc false
      def load do
        NativeLibrary.path()
        |> :erlang.load_nif(NativeLibrary.expected(unquote(stubs)))
        |> NativeLibrary.loaded()
      end
    end
  end
end

defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native do
  @moduledoc false
  # The NIFs, one stub each. A store is a resource that the process that opened
  # it owns. Lookups give an atom, `:closed`, `:opening` or `:poisoned`, when the
  # store answers none, and changes `{:error, :closed}`; for a stack that does not run it is
  # as for one that is closed.
  # A change by the id of its stack is acknowledged once it is queued: `{:error, :options}`
  # where the stack's options say more. What answers later takes a reference and sends
  # `{reference, answer}`.

  # It is there before this module is, which is loaded as soon as it is compiled.
  Code.ensure_compiled!(Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.NativeLibrary)

  @on_load :load
  @before_compile __MODULE__.Load

  @type store :: reference()
  @typedoc "A stack by its id, which is looked up each time, or by its store."
  @type stack :: String.t() | store()
  @type seq :: non_neg_integer()
  @type changed :: {:ok, seq()} | {:error, term()}
  @type unreadable :: :closed | :opening | :poisoned
  @typedoc "An answer that will come, and can be taken back: `Waits.await/3` does both."
  @type owed :: reference()

  # Its life

  @spec open(map()) :: {:ok, store()} | {:error, String.t()}
  def open(_options), do: unloaded()
  @spec verified(store(), [binary() | nil]) :: :ok
  def verified(_store, _digests), do: unloaded()
  @spec not_verified(store(), binary()) :: :ok
  def not_verified(_store, _reason), do: unloaded()
  @spec enter(store()) :: :ok
  def enter(_store), do: unloaded()
  @spec flags_function(String.t()) :: {store(), (struct() -> byte())} | nil
  def flags_function(_stack), do: unloaded()
  @spec close(store()) :: :ok
  def close(_store), do: unloaded()
  @spec state(store()) :: atom()
  def state(_store), do: unloaded()
  @spec promote(store(), reference()) :: owed()
  def promote(_store, _ref), do: unloaded()
  @spec statistics(store()) :: %{atom() => non_neg_integer()}
  def statistics(_store), do: unloaded()

  # Changes

  @spec add(
          stack(),
          binary(),
          binary(),
          integer(),
          [integer()],
          byte() | nil,
          binary(),
          boolean(),
          reference() | nil,
          boolean()
        ) :: changed()
  def add(_stack, _handle, _comparable, _hash, _oids, _flags, _body, _known, _ticket, _log),
    do: unloaded()

  @spec add_large(
          stack(),
          binary(),
          binary(),
          integer(),
          [integer()],
          byte() | nil,
          binary(),
          boolean(),
          reference() | nil,
          boolean()
        ) :: changed()
  def add_large(_stack, _handle, _comparable, _hash, _oids, _flags, _body, _known, _ticket, _log),
    do: unloaded()

  @spec remove(stack(), binary(), reference() | nil, boolean()) :: changed()
  def remove(_stack, _handle, _ticket, _log), do: unloaded()
  @spec mark(stack(), binary(), :started | :complete, reference() | nil, boolean()) :: changed()
  def mark(_stack, _handle, _snapshot, _ticket, _log), do: unloaded()
  @spec note_unknown(stack(), atom(), binary(), reference() | nil) :: changed()
  def note_unknown(_stack, _operation, _handle, _ticket), do: unloaded()
  @spec reset(store()) :: changed()
  def reset(_store), do: unloaded()
  @spec remove_incomplete(store()) :: {:ok, [binary()], seq()} | {:error, term()}
  def remove_incomplete(_store), do: unloaded()

  @spec wait_for_room(store(), non_neg_integer(), reference()) ::
          :room | {:wait, reference(), owed()}
  def wait_for_room(_store, _body_bytes, _ref), do: unloaded()

  # Waiting

  @spec take_back(owed()) :: boolean()
  def take_back(_owed), do: unloaded()
  @spec wait(store(), seq(), reference()) :: atom() | {:wait, owed()}
  def wait(_store, _seq, _ref), do: unloaded()
  @spec last(store()) :: seq()
  def last(_store), do: unloaded()
  @spec flush_to(store(), seq()) :: :ok
  def flush_to(_store, _seq), do: unloaded()
  @spec pause(store(), boolean()) :: :ok
  def pause(_store, _paused), do: unloaded()

  # Lookups

  @spec handle_for(stack(), binary()) :: {:ok, binary()} | :error | unreadable()
  def handle_for(_stack, _comparable), do: unloaded()

  @spec handle_for_large(stack(), binary()) :: {:ok, binary()} | :error | unreadable()
  def handle_for_large(_stack, _comparable), do: unloaded()

  @spec shape(stack(), binary()) ::
          {:ok, term()} | {:body, binary()} | :large | :cold | :error | unreadable()
  def shape(_stack, _handle), do: unloaded()

  @spec large_shape(stack(), binary()) ::
          {:ok, term()} | {:body, binary()} | :cold | :error | unreadable()
  def large_shape(_stack, _handle), do: unloaded()

  @spec ask_body(store(), binary(), boolean(), reference()) :: owed()
  def ask_body(_store, _handle, _has_writer, _ref), do: unloaded()

  @type read_body ::
          {:ok, term()} | {:body, binary()} | :gone | {:error, String.t()} | unreadable()

  @spec take_body(store(), owed()) :: read_body() | :large | :borrowed
  def take_body(_store, _owed), do: unloaded()
  @spec take_large_body(store(), owed()) :: read_body() | :borrowed
  def take_large_body(_store, _owed), do: unloaded()
  @spec waiting_reads(store()) :: non_neg_integer()
  def waiting_reads(_store), do: unloaded()
  @spec row(store(), binary()) :: pos_integer() | nil
  def row(_store, _handle), do: unloaded()
  @spec lose(store(), binary(), pos_integer() | nil, String.t()) :: :ok
  def lose(_store, _handle, _row, _reason), do: unloaded()
  @spec is_exclusive(store()) :: boolean()
  def is_exclusive(_store), do: unloaded()
  @spec snapshot(stack(), binary()) :: :none | :started | :complete | :error | unreadable()
  def snapshot(_stack, _handle), do: unloaded()
  @spec handle_exists(stack(), binary()) :: boolean() | unreadable()
  def handle_exists(_stack, _handle), do: unloaded()
  @spec count(stack()) :: non_neg_integer() | unreadable()
  def count(_stack), do: unloaded()
  @spec handles_for_relations(stack(), [integer()]) :: [binary()] | :many | unreadable()
  def handles_for_relations(_stack, _oids), do: unloaded()
  @spec all_handles_for_relations(stack(), [integer()]) :: [binary()] | unreadable()
  def all_handles_for_relations(_stack, _oids), do: unloaded()

  @spec unknown_handles(store(), [binary()]) :: [binary()] | unreadable()
  def unknown_handles(_store, _handles), do: unloaded()

  # What the host keeps of each shape

  @type meta ::
          {binary(), integer(), :none | :started | :complete, integer() | nil, byte()}

  @spec touch(stack(), binary(), integer()) :: boolean()
  def touch(_stack, _handle, _now), do: unloaded()
  @spec set_last_read(stack(), binary(), integer()) :: boolean()
  def set_last_read(_stack, _handle, _time), do: unloaded()
  @spec validate(stack(), binary(), integer()) :: :ok | :error | unreadable()
  def validate(_stack, _handle, _hash), do: unloaded()
  @spec validate_shape(stack(), binary(), binary()) :: :ok | :error | unreadable()
  def validate_shape(_stack, _handle, _comparable), do: unloaded()
  @spec validate_large_shape(stack(), binary(), binary()) :: :ok | :error | unreadable()
  def validate_large_shape(_stack, _handle, _comparable), do: unloaded()
  @spec meta(stack(), binary()) :: meta() | :error | unreadable()
  def meta(_stack, _handle), do: unloaded()
  @spec lookup(stack(), binary(), integer() | nil) :: meta() | :error | unreadable()
  def lookup(_stack, _comparable, _now), do: unloaded()
  @spec lookup_large(stack(), binary(), integer() | nil) :: meta() | :error | unreadable()
  def lookup_large(_stack, _comparable, _now), do: unloaded()
  @spec next_whole_meta(store(), reference(), pos_integer()) :: [meta()] | :done | unreadable()
  def next_whole_meta(_store, _cursor, _len), do: unloaded()

  @spec least_recently_used(stack(), non_neg_integer(), integer()) ::
          {[binary()], integer() | nil} | unreadable()
  def least_recently_used(_stack, _n, _now), do: unloaded()
  @spec mark_in_memory(stack(), binary(), :started | :complete) :: :ok | {:error, term()}
  def mark_in_memory(_stack, _handle, _snapshot), do: unloaded()
  @spec set_flags(stack(), binary(), byte(), reference() | nil) :: changed()
  def set_flags(_stack, _handle, _flags, _ticket), do: unloaded()
  @spec set_many_flags(store(), [{binary(), byte()}]) :: changed()
  def set_many_flags(_store, _flags), do: unloaded()
  @spec count_by_flags(stack(), byte(), byte()) :: non_neg_integer() | unreadable()
  def count_by_flags(_stack, _mask, _value), do: unloaded()
  @spec handles_by_flags(stack(), byte(), byte()) :: [binary()] | unreadable()
  def handles_by_flags(_stack, _mask, _value), do: unloaded()
  @spec flags_version(store()) :: String.t() | nil
  def flags_version(_store), do: unloaded()
  @spec set_flags_version(store(), String.t()) :: changed()
  def set_flags_version(_store, _version), do: unloaded()

  # Listing

  @spec cursor(store()) :: reference() | unreadable()
  def cursor(_store), do: unloaded()
  @spec cursors(store(), pos_integer()) :: [reference()] | unreadable()
  def cursors(_store, _parts), do: unloaded()

  @spec next_meta(store(), reference(), pos_integer()) ::
          [{binary(), integer(), boolean()}] | :done | unreadable()
  def next_meta(_store, _cursor, _len), do: unloaded()

  @spec shapes_at_once(store(), reference(), pos_integer()) :: read_shapes() | :ask
  def shapes_at_once(_store, _cursor, _len), do: unloaded()

  @spec ask_shapes(store(), reference(), pos_integer(), boolean(), reference()) :: owed()
  def ask_shapes(_store, _cursor, _len, _has_writer, _ref), do: unloaded()

  @type read_shapes ::
          {:ok, [{binary(), term()}]} | :done | {:error, String.t()} | unreadable()

  @spec take_shapes(store(), owed()) :: read_shapes() | :borrowed
  def take_shapes(_store, _owed), do: unloaded()
  @spec sort_shapes([{binary(), term()}]) :: [{binary(), term()}]
  def sort_shapes(_shapes), do: unloaded()

  # What is buffered

  @spec pending_change(store(), binary()) :: :add | :remove | :unknown | unreadable()
  def pending_change(_store, _handle), do: unloaded()
  @spec pending_ops(store()) :: non_neg_integer()
  def pending_ops(_store), do: unloaded()
  @spec pending_count_diff(store()) :: integer()
  def pending_count_diff(_store), do: unloaded()
  @spec pending_body(store(), binary()) :: {:ok, binary()} | :error | unreadable()
  def pending_body(_store, _handle), do: unloaded()
  @spec pending_handle(store(), binary()) :: {:ok, binary()} | :error | unreadable()
  def pending_handle(_store, _comparable), do: unloaded()
  @spec pending_shapes(store()) :: [{binary(), [integer()]}] | unreadable()
  def pending_shapes(_store), do: unloaded()

  @spec list_pending(store()) ::
          {:ok, binary(), pos_integer()} | nil | {:error, String.t()}
  def list_pending(_store), do: unloaded()
  @spec pending_removals(store()) :: [binary()] | unreadable()
  def pending_removals(_store), do: unloaded()

  # Connections

  @spec ask_reader(store(), reference()) :: {:wait, owed(), boolean()} | :asked
  def ask_reader(_store, _ref), do: unloaded()
  @spec ask_writer(store(), reference()) :: {:wait, owed(), boolean()} | :asked
  def ask_writer(_store, _ref), do: unloaded()
  @spec give_back(reference()) :: :ok
  def give_back(_lease), do: unloaded()
  @spec execute(store(), integer(), binary()) :: :ok | {:error, String.t()}
  def execute(_store, _slot, _sql), do: unloaded()

  @spec query(store(), integer(), binary(), list() | map(), non_neg_integer()) ::
          {:ok, [list()]} | {:error, String.t()}
  def query(_store, _slot, _sql, _binds, _limit), do: unloaded()
  @spec statements() :: [{String.t(), String.t()}]
  def statements, do: unloaded()

  # What an operator does with files. What takes long tells a process by
  # `{:shape_db_progress, done, total}`.

  @type reader :: reference()
  @type refused :: {:error, {atom(), String.t()}}

  @spec trouble(store()) :: nil | {non_neg_integer(), pos_integer(), String.t()}
  def trouble(_store), do: unloaded()
  @spec admin_holder(binary()) :: {:ok, String.t() | nil} | refused()
  def admin_holder(_path), do: unloaded()
  @spec admin_room(binary()) :: {:ok, {non_neg_integer(), non_neg_integer()}} | refused()
  def admin_room(_path), do: unloaded()
  @spec admin_open(binary(), boolean(), boolean()) :: {:ok, reader()} | refused()
  def admin_open(_path, _live, _damaged), do: unloaded()
  @spec admin_close(reader()) :: :ok
  def admin_close(_reader), do: unloaded()
  @spec admin_summary(reader()) :: {:ok, map()} | refused() | :closed
  def admin_summary(_reader), do: unloaded()

  @spec admin_rows(reader(), pos_integer()) ::
          {:ok, {[map()], non_neg_integer()}} | refused() | :closed
  def admin_rows(_reader, _limit), do: unloaded()
  @spec admin_check(binary(), boolean(), pid() | nil) :: {:ok, map()} | refused()
  def admin_check(_path, _live, _to), do: unloaded()
  @spec admin_backup(binary(), binary(), boolean(), pid() | nil) :: {:ok, map()} | refused()
  def admin_backup(_from, _path, _live, _to), do: unloaded()
  @spec admin_restore(binary(), binary(), pid() | nil) :: {:ok, map()} | refused()
  def admin_restore(_from, _path, _to), do: unloaded()
  @spec admin_move(binary(), binary(), pid() | nil) :: {:ok, map()} | refused()
  def admin_move(_from, _path, _to), do: unloaded()
  @spec admin_salvage(binary(), binary(), [integer()], pid() | nil) :: {:ok, map()} | refused()
  def admin_salvage(_from, _path, _leave_out, _to), do: unloaded()
  @spec admin_repair(binary(), [integer()], pid() | nil) :: {:ok, map()} | refused()
  def admin_repair(_path, _leave_out, _to), do: unloaded()

  @spec admin_export(
          binary(),
          binary(),
          boolean(),
          [integer()],
          [{integer(), binary()}],
          pid() | nil
        ) ::
          {:ok, {non_neg_integer(), non_neg_integer(), non_neg_integer()}} | refused()
  def admin_export(_from, _path, _live, _leave_out, _digests, _to), do: unloaded()

  defp unloaded, do: :erlang.nif_error(:nif_not_loaded)
end
