defmodule ElectricShapeDb.Property do
  @moduledoc """
  PropEr as these tests use it: a list of random commands is run, and a failing
  list is shrunk to a short one before it is shown.
  """

  @doc "Whether PropEr is installed (Debian: `erlang-proper`)."
  @spec available?() :: boolean()
  def available?, do: Code.ensure_loaded?(:proper)

  @doc "Runs `fun` with `runs` lists of commands; it raises when a promise is broken."
  @spec check!(term(), pos_integer(), ([term()] -> term())) :: :ok
  def check!(command, runs, fun) do
    property = apply(:proper, :forall, [type(:list, [command]), &holds?(&1, fun)])
    options = [:quiet, :long_result, {:numtests, runs}, {:max_size, 60}]

    case apply(:proper, :quickcheck, [property, options]) do
      true -> :ok
      [commands] -> explain!(commands, fun)
    end
  end

  # Debian's PropEr cannot report an exception on today's OTP: it gets a verdict.
  defp holds?(commands, fun) do
    fun.(commands)
    true
  rescue
    _broken_promise -> false
  catch
    _kind, _broken_promise -> false
  end

  # Runs the shrunk commands once more, for their own error and stack trace.
  defp explain!(commands, fun) do
    IO.puts("failing commands: #{inspect(commands, limit: :infinity, pretty: true)}")
    fun.(commands)
    raise "these commands failed before, and did not fail again: #{inspect(commands)}"
  end

  @doc "A choice by weight: `[{weight, command}]`."
  def weighted(choices), do: type(:frequency, [choices])

  @doc "An integer in a range."
  def integer(low, high), do: type(:integer, [low, high])

  # Called by name: a compiler that does not find PropEr would warn.
  defp type(name, args), do: apply(:proper_types, name, args)
end
