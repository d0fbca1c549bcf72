-- What all scripts of shared quotes begin with: the time, and the epoch in which stamps can be compared.
-- KEYS   1 what is known of the quotes of the account  2 the quotes that are wanted, each until when
-- ARGV   1 the moment in microseconds, or '' for the time of the host of Redis
--        2 the earliest moment that it can be, by what this process heard last and its own steady clock, or ''
--        3 this process
-- Gives  `now`, `epoch`, `version`, `fetcher`
--
-- Numbers are below 2^53 and so exact. `%.0f` because Lua writes large numbers with an exponent.
-- As `LEASE` in cache/batch/shared_store.rs.
local LEASE = 3000000
local KEPT = 86400000
local function text(x) return string.format('%.0f', x) end
local META, WANTED, me = KEYS[1], KEYS[2], ARGV[3]
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end
local known = redis.call('HMGET', META, 'last', 'epoch', 'version', 'fetcher', 'until', 'epochs')
local last, epoch, version = tonumber(known[1] or 0), known[2] or '', tonumber(known[3] or 0)
local fetcher, lease, epochs = known[4] or '', tonumber(known[5] or 0), tonumber(known[6] or 0)
-- Each process finds each step by itself, so a step may begin several epochs.
local was_set_back = now < last or (ARGV[2] ~= '' and now < tonumber(ARGV[2]))
if epoch == '' or was_set_back then
  -- What was stamped before would look younger than it is. It is of another epoch now.
  epochs = epochs + 1
  epoch, version, fetcher = text(now) .. '-' .. epochs .. '-' .. me, 0, ''
  redis.call('DEL', WANTED)
end
if now >= lease then fetcher = '' end
local function save()
  redis.call('HSET', META, 'last', text(now), 'epoch', epoch, 'version', version, 'fetcher', fetcher,
    'until', text(lease), 'epochs', epochs)
  redis.call('PEXPIRE', META, KEPT)
end
