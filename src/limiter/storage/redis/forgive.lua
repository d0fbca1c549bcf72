-- Takes back one failure of a backoff.
-- KEYS   the key of the backoff
-- ARGV   1 the moment, or ""; 2 the least time to keep a key, in ms; 3 longest delay; 4 when it is forgotten
local time = redis.call('TIME')
local now = ARGV[1] == '' and time[1] * 1000000 + time[2] or tonumber(ARGV[1])
local opens, failures = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
opens, failures = tonumber(opens), tonumber(failures)
if not opens or now >= opens + ARGV[4] or failures <= 1 then
  redis.call('DEL', KEYS[1])
  return 0
end
opens = math.min(opens, now + ARGV[3], now)
local life = math.max(math.ceil((opens + ARGV[4] - now) / 1000) + 1, tonumber(ARGV[2]))
redis.call('SET', KEYS[1], string.format('%.0f %.0f', opens, failures - 1), 'PX', string.format('%.0f', life))
return failures - 1
