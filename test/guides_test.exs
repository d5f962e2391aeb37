defmodule ElectricShapeDb.GuidesTest do
  @moduledoc """
  The guides name files, and what is in them. What they name is there.
  """

  use ExUnit.Case, async: true

  @root Path.expand("..", __DIR__)
  # The one that is left out names files of the host.
  @guides ["README.md", "CONTRIBUTING.md"] ++
            (Path.wildcard("guides/*.md") -- ["guides/replacing_the_genserver_buffer.md"])

  # Where a name such as `writer/commit.rs` or `options.ex` may begin.
  @roots ~w(
    . native native/shape_store/src native/shape_store native/shape_store/tests native/shape_db_nif/src
    native/simulate/src native/fault_vfs/src lib/electric/shape_cache/shape_status
    lib/electric/shape_cache/shape_status/shape_db
    lib/electric/shape_cache/shape_status/shape_db/internal lib/mix/tasks mix test test/shape_db
    test/support bench guides scripts demo
  )

  @file_name ~r/`((?:[\w.-]+\/)*[\w-]+\.(?:rs|ex|exs|md|yml|json|toml))`((?:,? `[a-z_]+[?!]?`)*)/

  for guide <- @guides do
    test "the files and functions that #{guide} names are there" do
      text = File.read!(Path.join(@root, unquote(guide)))

      missing =
        for [_all, file, names] <- Regex.scan(@file_name, text),
            problem <- missing(file, Regex.scan(~r/`([^`]+)`/, names)),
            do: problem

      assert Enum.uniq(missing) == []
    end
  end

  test "a file or function that is not there is found missing" do
    assert missing("nowhere.rs", []) == ["nowhere.rs"]
    assert missing("options.ex", [["", "no_such_function"]]) == ["options.ex no_such_function"]
    assert missing("options.ex", [["", "check"]]) == []
  end

  # More than one file may have a name: one of them is meant.
  defp missing(file, names) do
    found =
      for root <- @roots, path = Path.join([@root, root, file]), File.regular?(path), do: path

    texts = found |> Enum.uniq_by(&Path.expand/1) |> Enum.map(&File.read!/1)

    for [_quoted, name] <- names, not Enum.any?(texts, &defines?(&1, name)) do
      "#{file} #{name}"
    end ++ if(texts == [], do: [file], else: [])
  end

  defp defines?(text, name),
    do: text =~ ~r/\b(?:fn|defp?|defmacro|mod|macro_rules!) #{Regex.escape(name)}(?!\w)/
end
