-- Read by luacheck when tools/lint_lua.py gives it the library that the scripts are put together to.
std = "lua51"
read_globals = { "KEYS", "ARGV", "redis", "struct" }
max_line_length = 120
color = false
