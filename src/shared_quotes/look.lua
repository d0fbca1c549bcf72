-- Reads values.
-- KEYS   3.. the values
-- ARGV   4 how many of them are needed  5 the version in which the others were read before, or ''
-- Answer the moment, the epoch, the version, the values or nil
local count = #KEYS - 2
if ARGV[5] == epoch .. '/' .. version then count = tonumber(ARGV[4]) end
save()
local values = {}
if count > 0 then values = redis.call('MGET', unpack(KEYS, 3, count + 2)) end
return { text(now), epoch, epoch .. '/' .. version, values }
