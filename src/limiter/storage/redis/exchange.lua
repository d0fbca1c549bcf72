-- Adds what one process admitted by itself to the counts of all, and gives the counts of all. May be followed by a verdict.
-- KEYS   1 what this process exchanged last; one for each count that is added; one for each limit of the verdict
-- ARGV   3 the number of this exchange: one that was added is not added again, if its answer was lost
--        4 how many counts are added; then twelve for each: the end of the window in which it was admitted, or the moment
--        of the first request of a token bucket, and the limit with the weight; then eleven for each limit of the verdict
-- Gives  the moment; for each count three numbers, its state; and what `take` adds. An unreadable count is 2^53 and zeros.
local UNREADABLE = 9007199254740992
local added = tonumber(ARGV[4])
local again = tonumber(redis.call('GET', KEYS[1]) or 0) >= tonumber(ARGV[3])
redis.call('SET', KEYS[1], ARGV[3], 'PX', text(math.max(86400000, least)))
local reply = { now }
-- Adds to the count of a key. Gives its state.
local function add(key, at)
  local stamp, kind, weight = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 2])
  local _, a, b, c, count = limit(key, at + 1)
  if not again and weight > 0 then
    if kind == 'T' then
      -- Tokens were added while these were taken, so they count from the first one.
      local full, part = stored(key)
      stamp = math.min(stamp, now)
      if not full or full < stamp then full, part = stamp, 0 end
      local requests = tonumber(ARGV[at + 4])
      full, part = full + ARGV[at + 7], math.min(part, requests - 1) + ARGV[at + 8]
      if part >= requests then full, part = full + 1, part - requests end
      store(key, text(full, part), full + 1)
    elseif stamp == a then count()
    -- It was admitted in the window before this one. Of that, only a counter knows.
    elseif kind == 'C' and stamp + ARGV[at + 5] == a then store(key, text(a, b + weight, c), a + ARGV[at + 5]) end
  end
  -- With a weight of 0 it is only read.
  ARGV[at + 2] = '0'
  _, a, b, c = limit(key, at + 1)
  return a, b, c
end
for i = 1, added do
  local is_added, a, b, c = pcall(add, KEYS[i + 1], 5 + (i - 1) * 12)
  -- A key of another type must not hold up the others.
  if not is_added then a, b, c = UNREADABLE, 0, 0 end
  for _, number in ipairs({ a, b, c }) do reply[#reply + 1] = number end
end
local keys = {}
for i = added + 2, #KEYS do keys[#keys + 1] = KEYS[i] end
take(keys, 5 + added * 12, reply)
return reply
