import Config

alias Electric.ShapeCache.ShapeStatus.ShapeDb.Connection

config :host,
  shape_db_opts: [
    storage_dir: System.fetch_env!("HOST_STORAGE_DIR"),
    synchronous: System.get_env("HOST_SYNCHRONOUS", Connection.default!(:synchronous)),
    cache_size: Connection.default!(:cache_size),
    exclusive_mode: nil
  ]
