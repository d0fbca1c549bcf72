-- Claims the fetch.
-- ARGV   4 the version that lacks a value  5 for how many microseconds the values are wanted  6.. what is wanted
-- Answer the moment, the epoch, `granted`, `busy` or `changed`
local answer = 'busy'
if ARGV[4] ~= epoch .. '/' .. version then
  answer = 'changed'
elseif fetcher == '' or fetcher == me then
  answer, fetcher, lease = 'granted', me, now + LEASE
else
  local wanted, expires = {}, text(now + tonumber(ARGV[5]))
  for i = 6, #ARGV do
    wanted[#wanted + 1] = expires
    wanted[#wanted + 1] = ARGV[i]
  end
  if #wanted > 0 then redis.call('ZADD', WANTED, unpack(wanted)) end
  redis.call('PEXPIRE', WANTED, KEPT)
end
save()
return { text(now), epoch, answer }
