-- Keeps values, and ends the claim of this process.
-- KEYS   3.. the values
-- ARGV   4 the epoch of the stamp  5 the stamp  6 for how many milliseconds values are kept  7 `1` if the claim ends
--        8.. the values
-- Answer the moment, the epoch, how many were kept
local kept = 0
if ARGV[4] == epoch then
  for i = 3, #KEYS do
    -- A key of another type has no stamp.
    local head = redis.pcall('GETRANGE', KEYS[i], 0, 199)
    local of, stamp
    if type(head) == 'string' then of, stamp = head:match('^(%S+) (%d+) ') end
    -- An answer that took long may come after that of a later request.
    if of ~= epoch or tonumber(stamp) < tonumber(ARGV[5]) then
      redis.call('SET', KEYS[i], epoch .. ' ' .. ARGV[5] .. ' ' .. ARGV[5 + i], 'PX', ARGV[6])
      kept = kept + 1
    end
  end
  if kept > 0 then version = version + 1 end
end
if ARGV[7] == '1' and fetcher == me then fetcher = '' end
save()
return { text(now), epoch, kept }
