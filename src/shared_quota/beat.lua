-- A process says that it is alive, and hears which others are.
-- KEYS   2 the processes; then the lanes' lines, for pauses and cuts
-- ARGV   from 7: where the process runs; 1 if it leaves; how many others it knows to be dead, and their names; for how long the
--        share of a silent process is reserved; then for each lane how long a pause it tells, or 0, the percent of its rate, and
--        its round trip credit; then how many routes its breakers refuse, and the lane and the name of each
-- Gives  now; the wall clock; the generation; how many processes there are; which of them this one is, from 0; 1 if all have
--        heard of it; how many routes the breakers of others refuse, and the lane and the name of each; then the name, the
--        place and the silence of each other process
--
-- A process is `joined beat processes rank settled place`. The rank goes by the time of joining. A share of a limit of n is
-- ceil((n - rank) / processes): all shares together are n, and no share grows because another process has joined.
local PROCS = KEYS[2]
local function parse(value)
  local joined, beat, count, rank, settled, place = string.match(value, '^(%d+) (%d+) (%d+) (%d+) (%d+) (.*)$')
  return { joined = tonumber(joined), beat = tonumber(beat), count = tonumber(count), rank = tonumber(rank),
    settled = tonumber(settled), place = place }
end
local function line(p)
  return table.concat({ text(p.joined), text(p.beat), p.count, p.rank, p.settled, p.place }, ' ')
end
local all, at = {}, 9
do
  local fields = redis.call('HGETALL', PROCS)
  for index = 1, #fields, 2 do all[fields[index]] = parse(fields[index + 1]) end
end
local function remove(name)
  all[name] = nil
  redis.call('HDEL', PROCS, name)
end
for _ = 1, tonumber(ARGV[9]) do
  at = at + 1
  if ARGV[at] ~= me then remove(ARGV[at]) end
end
local RESERVED = tonumber(ARGV[at + 1])
at = at + 1
for name, p in pairs(all) do
  if now - p.beat > RESERVED then remove(name) end
end
if ARGV[8] == '1' then
  remove(me)
else
  local mine = all[me] or { joined = now, count = 0, rank = 0, settled = 0 }
  mine.beat, mine.place = now, ARGV[7]
  all[me] = mine
end
local names = {}
for name in pairs(all) do names[#names + 1] = name end
table.sort(names, function(a, b)
  local x, y = all[a], all[b]
  return x.joined < y.joined or x.joined == y.joined and a < b
end)
local mine = all[me]
for rank, name in ipairs(names) do
  if name == me then mine.count, mine.rank = #names, rank - 1 end
end
if mine then
  -- A share is mine once all that joined before have heard that there is one process more.
  mine.settled = 1
  for name, p in pairs(all) do
    if name ~= me and p.joined <= mine.joined and p.settled == 1 and p.count < mine.rank + 1 then mine.settled = 0 end
  end
  redis.call('HSET', PROCS, me, line(mine))
end
-- For the steps: the shares, and when the first of these processes has been silent for too long.
local shares, lost_from = {}, now + LOST_AFTER
for name, p in pairs(all) do
  if p.settled == 1 then
    shares[#shares + 1] = table.concat({ name, text(p.beat), p.count, p.rank }, ':')
    lost_from = math.min(lost_from, p.beat + LOST_AFTER)
  end
end
redis.call('HSET', META, 'shares', table.concat(shares, ' '), 'lost_from', text(lost_from))
redis.call('PEXPIRE', PROCS, keep)
save_clock()
local reply = { now, raw, born, #names, mine and mine.rank or 0, mine and mine.settled or 0 }

-- The credit of a lane is the least of all its processes, and of those that were here a window ago. Of one that has told none
-- it is zero.
local function note_credit(lane, least)
  local others = tell_credit(lane, least)
  for _, credit in pairs(others) do least = math.min(least, credit) end
  for _, name in ipairs(names) do
    if name ~= me and not others[name] then least = 0 end
  end
  redis.call('HSET', META, 'credit:' .. lane, text(least))
end

for key = 3, #KEYS do
  local told, percent = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  note_credit(string.match(KEYS[key], ':turn:(.*)$'), tonumber(ARGV[at + 3]))
  at = at + 3
  local pause = tonumber(redis.call('HGET', KEYS[key], 'pause') or 0)
  if told > 0 and now + told > pause then
    pause = now + told
    redis.call('HSET', KEYS[key], 'pause', text(pause))
  end
  if percent < 100 and ARGV[8] ~= '1' then
    redis.call('HSET', KEYS[key], 'cut:' .. me, percent .. ' ' .. text(now + LOST_AFTER))
  else
    redis.call('HDEL', KEYS[key], 'cut:' .. me)
  end
  redis.call('PEXPIRE', KEYS[key], keep)
end

-- The routes that breakers refuse: a line for each, with the process, until when it holds, the lane and the route.
do
  local lines, refused = {}, {}
  for name, till, lane, route in string.gmatch(redis.call('HGET', META, 'open') or '', '([^\t]+)\t(%d+)\t([^\t]+)\t([^\n]+)\n') do
    if name ~= me and tonumber(till) > now then
      lines[#lines + 1] = table.concat({ name, till, lane, route }, '\t') .. '\n'
      refused[#refused + 1], refused[#refused + 2] = lane, route
    end
  end
  for _ = 1, tonumber(ARGV[at + 1]) do
    if ARGV[8] ~= '1' then
      lines[#lines + 1] = table.concat({ me, text(now + LOST_AFTER), ARGV[at + 2], ARGV[at + 3] }, '\t') .. '\n'
    end
    at = at + 2
  end
  redis.call('HSET', META, 'open', table.concat(lines))
  reply[#reply + 1] = #refused / 2
  for _, text_of in ipairs(refused) do reply[#reply + 1] = text_of end
end
for _, name in ipairs(names) do
  if name ~= me then
    reply[#reply + 1] = name
    reply[#reply + 1] = all[name].place
    reply[#reply + 1] = now - all[name].beat
  end
end
return reply
