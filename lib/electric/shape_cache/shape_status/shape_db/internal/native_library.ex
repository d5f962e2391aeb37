defmodule Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.NativeLibrary do
  @moduledoc false
  # Which file the NIFs are in, and what is wrong with it.
  #
  # `ELECTRIC_SHAPE_DB_NIF` names one for this run; `config :electric_shape_db, nif: path` one
  # for the build, which is copied into `priv/native` then, and counts at run time where it is
  # there. Otherwise it is the one in `priv/native`.

  @variable "ELECTRIC_SHAPE_DB_NIF"
  @version Mix.Project.config()[:version]

  @doc "What the library has to be: its version, and how many functions it has."
  @spec expected(non_neg_integer()) :: {String.t(), non_neg_integer()}
  def expected(functions), do: {@version, functions}

  @doc "The path of the library, without its extension, as `:erlang.load_nif/2` takes it."
  @spec path() :: charlist()
  def path, do: file() |> Path.rootname(".so") |> String.to_charlist()

  @doc "The library's file."
  @spec file() :: Path.t()
  def file do
    configured = Application.get_env(:electric_shape_db, :nif)

    cond do
      (path = System.get_env(@variable, "")) != "" -> path
      configured != nil and File.exists?(configured) -> configured
      true -> Path.join(:code.priv_dir(:electric_shape_db), "native/shape_db_nif.so")
    end
  end

  @doc "Keeps what `:erlang.load_nif/2` said, for whoever starts the application."
  @spec loaded(:ok | {:error, {atom(), charlist()}}) :: :ok | {:error, term()}
  def loaded(:ok), do: :ok

  def loaded({:error, {what, text}} = error) do
    :persistent_term.put({__MODULE__, :error}, explain(what, List.to_string(text)))
    error
  end

  @doc "Why the library was not loaded."
  @spec error() :: String.t()
  def error, do: :persistent_term.get({__MODULE__, :error}, "the NIFs are not loaded")

  defp explain(what, text) do
    file = file()
    named = if System.get_env(@variable, "") != "", do: " (named by #{@variable})", else: ""

    cond do
      not File.exists?(file) ->
        "#{file}#{named} is not there: build it with cargo (mix compile), or name a prebuilt " <>
          "library by #{@variable} or config :electric_shape_db, nif: path"

      what in [:load, :bad_lib] and version(file) == nil ->
        "#{file}#{named} is not the library of electric_shape_db: #{text}"

      what in [:load, :bad_lib] ->
        "#{file}#{named} is of version #{version(file)} or of another build, and this is " <>
          "electric_shape_db #{@version}: take the library that was built from the same source"

      true ->
        "#{file}#{named} cannot be loaded: #{text}. It has to be built for this system, " <>
          "processor and C library"
    end
  end

  @doc "The version that a library says it has; `nil` for a file that is none of ours."
  @spec version(Path.t()) :: String.t() | nil
  def version(file) do
    with {:ok, bytes} <- File.read(file),
         [_, version] <- Regex.run(~r/electric_shape_db NIF ([0-9A-Za-z.+-]+) end/, bytes) do
      version
    else
      _ -> nil
    end
  end
end
