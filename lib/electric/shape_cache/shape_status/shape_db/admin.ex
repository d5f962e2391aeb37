defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Admin do
  @moduledoc """
  What an operator needs: from a remote console, by `rpc` in a release, or by
  `mix shape_db.<name>`.

      alias Electric.ShapeCache.ShapeStatus.ShapeDb.Admin
      Admin.health("my-stack")

  | function | question or deed |
  |---|---|
  | `stacks/1` | which stacks run here? |
  | `info/2` | where are its files, which options, which role, since when? |
  | `health/2` | is it well, and if not, why? |
  | `inspect/2` | what is in it? |
  | `check/2` | is every byte what was written? |
  | `backup/3` | a copy, while it writes |
  | `restore/3`, `move/3` | a copy back in its place; a file to another place |
  | `salvage/3` | what can still be read of a damaged file |
  | `repair/2` | the same, in its own place; the damaged one is kept |
  | `export/3` | to schema 4, for the way back to the replaced design |
  | `watch/2` | one screen, refreshed |

  A *target* is the id of a running stack, the path of a database file, or a
  `storage_dir`, in which the file of this version and OTP major is meant.

  Each prints its answer for people, unless `print: false` is among the options, and
  returns it for programs: `{:ok, map}` or `{:error, text}`, in which case nothing was
  changed. None writes to a file that a running service has. A file that none has is
  kept from them for as long as it is read. Names that are to be made are never those
  of something that is there, and what is replaced is kept under another name.
  """

  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Copies
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Examine
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Health
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Salvage
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Target
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Text
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Admin.Watch
  alias Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Arguments

  @typedoc "A stack's id, a file, or a storage_dir."
  @type target :: String.t()
  @type options :: [print: boolean()]
  @type answer :: {:ok, map()} | {:error, String.t()}

  @doc """
  The stacks that run in this VM: id, role, shapes, pending operations, file.

      iex> {:ok, %{stacks: stacks}} = Admin.stacks(print: false)
      iex> is_list(stacks)
      true
  """
  @spec stacks(options()) :: {:ok, %{stacks: [map()]}}
  def stacks(opts \\ []), do: tell(:stacks, opts, [], &Examine.stacks/0)

  @doc """
  Where the files of a stack or target are and how large, with which options it runs,
  its role (`:writer`, `:follower`, `:fenced`) and since when.

      iex> Admin.info("no/such/place", print: false)
      {:error, "no/such/place is neither a stack that runs here, nor a file, nor a storage_dir"}
  """
  @spec info(target(), options()) :: answer()
  def info(target, opts \\ []), do: with_target(target, :info, opts, &Examine.info/1)

  @doc """
  One verdict, `:ok`, `:degraded` or `:failing`, with its reasons.

  `:failing` is what loses shapes, or will when the VM ends. `:degraded` is what
  should be looked into. Each reason has a `code`, a `level` and a `text`.

  Of a file that no one has, it says what can be told from outside: how it was closed,
  what lies beside it, and the room on its disk.

      Admin.health("my-stack")
      # failing  my-stack  writer
      #   failing commits_failing: commits fail since 2026-01-05 03:12:44Z, 31 times: database or disk is full

      iex> {:ok, health} = Admin.health("my-stack", print: false)
      iex> {health.role, is_list(health.reasons)}
      {:writer, true}
  """
  @spec health(target(), options()) :: answer()
  def health(target, opts \\ []), do: with_target(target, :health, opts, &Health.of/1)

  @doc """
  What is in a store: schema, counts, snapshots, tables, sizes, what the columns mean,
  and some shapes with their where-clauses (`samples: 5`). Schema 4 and 5.

      Admin.inspect("/var/lib/electric", samples: 20)

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {:ok, %{samples: [sample]}} = Admin.inspect("my-stack", samples: 1, print: false)
      iex> {sample.handle, sample.table, sample.where}
      {"1-1", "public.items", "id = 1"}
  """
  @spec inspect(target(), [{:samples, non_neg_integer()} | {:print, boolean()}]) :: answer()
  def inspect(target, opts \\ []) do
    with_target(target, :inspect, opts, &Examine.inspect(&1, opts[:samples] || 5))
  end

  @doc """
  SQLite's `integrity_check`, and ours: each body has its checksum, is a shape, and has
  the digest, hash and tables that the host's module computes, where that is loaded;
  nothing is there twice, and nothing without its counterpart.

  `sound: true` when nothing was found. It reads every byte.

      {:ok, %{sound: true}} = Admin.check("my-stack", print: false)

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {:ok, checked} = Admin.check("my-stack", print: false)
      iex> {checked.sound, checked.shapes}
      {true, 1}
  """
  @spec check(target(), options()) :: answer()
  def check(target, opts \\ []), do: with_target(target, :check, opts, &Examine.check(&1, opts))

  @doc """
  Copies the database, also of a stack that goes on writing, into a new file: one moment
  of it, checked, synced, and closed in order. What was acknowledged before the call is
  in it.

      Admin.backup("my-stack", "/backup/shapes.sqlite")

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {:ok, done} = Admin.backup("my-stack", tmp("shapes.sqlite"), print: false)
      iex> {done.shapes, File.exists?(tmp("shapes.sqlite"))}
      {1, true}
  """
  @spec backup(target(), Path.t(), options()) :: answer()
  def backup(target, to, opts \\ []) do
    with_target(target, :backup, opts, [to: to], &Copies.backup(&1, to, opts))
  end

  @doc """
  Puts a copy in the place of a database of a stack that does not run; the place is a
  file or a `storage_dir`. What is there is kept as `….replaced-<microseconds>`.

      Admin.restore("/backup/shapes.sqlite", "/var/lib/electric")

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {:ok, _done} = Admin.backup("my-stack", tmp("shapes.sqlite"), print: false)
      iex> {:ok, done} = Admin.restore(tmp("shapes.sqlite"), tmp("restored.sqlite"), print: false)
      iex> {done.shapes, File.exists?(tmp("restored.sqlite"))}
      {1, true}
  """
  @spec restore(Path.t(), Path.t(), options()) :: answer()
  def restore(from, to, opts \\ []) do
    tell(:restore, opts, [from: from, to: to], fn -> Copies.restore(from, to, opts) end)
  end

  @doc """
  Moves the database of a stack that does not run to a place that is free. The one that
  was moved is kept as `….moved-<microseconds>`, until you remove it.

      Admin.move("/var/lib/electric", "/mnt/fast/electric")

      iex> {:ok, _done} = Admin.backup("my-stack", tmp("shapes.sqlite"), print: false)
      iex> {:ok, done} = Admin.move(tmp("shapes.sqlite"), tmp("moved.sqlite"), print: false)
      iex> {done.to == tmp("moved.sqlite"), File.exists?(tmp("moved.sqlite"))}
      {true, true}
      iex> {:error, reason} = Admin.move("my-stack", tmp("elsewhere.sqlite"), print: false)
      iex> reason =~ "stop it first"
      true
  """
  @spec move(Path.t(), Path.t(), options()) :: answer()
  def move(from, to, opts \\ []) do
    tell(:move, opts, [from: from, to: to], fn -> Copies.move(from, to, opts) end)
  end

  @doc """
  Reads what can be read of a damaged file: into a running stack, which takes what it
  does not have, or into a new file. The damaged one stays as it is.

  What is read is verified: by the checksum of schema 5, and by the host's module where
  it is loaded, without which a file of schema 4 is refused. What could not be read is
  counted.

      Admin.salvage("…/v10_5@otp-27.sqlite.corrupt-1736944891394221", "my-stack")
      Admin.salvage("…/v10_5@otp-27.sqlite.corrupt-1736944891394221", "/tmp/new.sqlite")

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {:ok, _done} = Admin.backup("my-stack", tmp("damaged.sqlite"), print: false)
      iex> :ok = ShapeDb.remove_shape("my-stack", "1-1")
      iex> {:ok, done} = Admin.salvage(tmp("damaged.sqlite"), "my-stack", print: false)
      iex> {done.added, done.there, done.damaged}
      {1, 0, 0}
  """
  @spec salvage(Path.t(), target(), options()) :: answer()
  def salvage(from, to, opts \\ []) do
    tell(:salvage, opts, [from: from, to: to], fn -> Salvage.run(from, to, opts) end)
  end

  @doc """
  Salvages a file into its own place. The damaged one is kept as
  `….before-repair-<microseconds>`, byte for byte.

      Admin.repair("/var/lib/electric/meta/shape-db/v10_5@otp-27.sqlite")

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {:ok, _done} = Admin.backup("my-stack", tmp("damaged.sqlite"), print: false)
      iex> {:ok, done} = Admin.repair(tmp("damaged.sqlite"), print: false)
      iex> done.to == tmp("damaged.sqlite")
      true
  """
  @spec repair(Path.t(), options()) :: answer()
  def repair(path, opts \\ []) do
    with_target(path, :repair, opts, &Salvage.repair(&1, opts))
  end

  @doc """
  Writes the shapes into a new file of schema 4, which the replaced design opens; `to`
  is a file, or a `storage_dir`, in which the design looks for it under its own name.

  A snapshot that is begun and not complete counts as not begun there. What is damaged
  is left out and counted: as `left_out`, and as `unreadable_ids` where not even a row could
  be read, so that it is not known whether there was one. A file of which nothing could be
  written is refused.

      Admin.export("my-stack", "/var/lib/electric")

      iex> {:ok, _hash} = ShapeDb.add_shape("my-stack", shape(1), "1-1")
      iex> {:ok, done} = Admin.export("my-stack", tmp("old.sqlite"), print: false)
      iex> {done.version, done.shapes, done.left_out, done.unreadable_ids}
      {4, 1, 0, 0}
  """
  @spec export(target(), Path.t(), options()) :: answer()
  def export(target, to, opts \\ []) do
    with_target(target, :export, opts, [to: to], &Copies.export(&1, to, opts))
  end

  @doc """
  One screen about a stack, refreshed each second until a key ends it or, with
  `times: n`, n times: rates, latencies, what is pending, memory, faults.

      Admin.watch("my-stack")

      iex> Admin.watch("no/such/place")
      {:error, "no/such/place is neither a stack that runs here, nor a file, nor a storage_dir"}
  """
  @spec watch(String.t(), times: pos_integer() | :infinity, interval: pos_integer()) ::
          :ok | {:error, String.t()}
  def watch(stack_id, opts \\ []) do
    case Arguments.wrong(stack_id: stack_id, admin_opts: opts) do
      nil -> Watch.run(stack_id, opts)
      wrong -> {:error, wrong}
    end
  end

  defp with_target(target, name, opts, arguments \\ [], fun) do
    tell(name, opts, [{:target, target} | arguments], fn ->
      with {:ok, target} <- Target.find(target), do: fun.(target)
    end)
  end

  defp tell(name, opts, arguments, fun) do
    result =
      case Arguments.wrong(arguments ++ [admin_opts: opts]) do
        nil -> fun.()
        wrong -> {:error, wrong}
      end

    if not Keyword.keyword?(opts) or Keyword.get(opts, :print, true),
      do: IO.puts(Text.render(name, result))

    result
  end
end
