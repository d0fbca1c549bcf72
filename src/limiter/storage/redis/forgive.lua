-- Takes back one failure of a backoff.
-- KEYS   the key of the backoff
-- ARGV   3 longest delay; 4 how long after the end of the delay it is forgotten
local opens, failures = stored(KEYS[1])
if not opens or now >= opens + ARGV[4] or failures <= 1 then
  redis.call('DEL', KEYS[1])
  return 0
end
opens = math.min(opens, now + ARGV[3], now)
store(KEYS[1], text(opens, failures - 1), opens + ARGV[4])
return failures - 1
