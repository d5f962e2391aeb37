[
  inputs: ["{mix,.formatter}.exs", "{mix,lib,test,bench}/**/*.{ex,exs}"]
]
