-- The limits of quota/request_limit, step by step, in whole microseconds below 2^53, which Lua's numbers hold exactly.
-- Each script begins with these lines.
--
-- ARGV   1 the moment, or "" for Redis's own; 2 the least time to keep a key, in ms
local time = redis.call('TIME')
local now = ARGV[1] == '' and time[1] * 1000000 + time[2] or tonumber(ARGV[1])
local least = tonumber(ARGV[2])

local function text(...)
  local parts = {}
  for i, number in ipairs({...}) do parts[i] = string.format('%.0f', number) end
  return table.concat(parts, ' ')
end
local function stored(key)
  local a, b, c = string.match(redis.call('GET', key) or '', '^(%d+) (%d+) ?(%d*)$')
  return tonumber(a), tonumber(b), tonumber(c)
end
local function store(key, value, until_)
  local life = math.ceil((until_ - now) / 1000) + 1
  redis.call('SET', key, value, 'PX', text(math.max(life, least, 1)))
end
local function window_end(period) return now - now % period + period end

-- Z a limit of zero, T token bucket, F fixed window, L sliding window log, C sliding window counter, B backoff.
-- Each kind: reads its state, and gives whether it admits the request, the state (three numbers), and what counts it.
local kinds = {}

-- A limit of 0.
function kinds.Z() return false, 0, 0, 0 end

-- 1 requests  2, 3 the time of the spare tokens, or -1  4, 5 the time of the weight  6 the longest debt  7, 8 the time of a burst
function kinds.T(key, weight, p)
  local requests = p[1]
  local full, part = stored(key)
  if not full then full, part = now, 0 end
  if full > now + p[7] + p[6] then
    full, part = now + p[7], p[8]
    store(key, text(full, part), full)
  end
  part = math.min(part, requests - 1)
  if full < now then full, part = now, 0 end
  local admits = weight == 0 or p[2] >= 0 and (full < now + p[2] or full == now + p[2] and part <= p[3])
  return admits, full, part, 0, function()
    local f, r = full + p[4], part + p[5]
    if r >= requests then f, r = f + 1, r - requests end
    store(key, text(f, r), f + 1)
  end
end

-- 1 requests  2 the period
function kinds.F(key, weight, p)
  local present = window_end(p[2])
  local stops, count = stored(key)
  if stops and stops > present then
    stops = present
    store(key, text(stops, count), stops)
  end
  if not stops or stops <= now then count = 0 end
  return weight == 0 or count + weight <= p[1], present, count, 0, function()
    store(key, text(present, count + weight), present)
  end
end

-- 1 requests  2 the period. The key is a list of the moments of requests, one for each unit of weight.
function kinds.L(key, weight, p)
  local newest = tonumber(redis.call('LINDEX', key, -1) or 0)
  if newest > now then
    for i, at in ipairs(redis.call('LRANGE', key, 0, -1)) do
      if tonumber(at) > now then redis.call('LSET', key, i - 1, text(now)) end
    end
    newest = now
  end
  repeat
    local ended, oldest = 0, redis.call('LRANGE', key, 0, 63)
    for _, at in ipairs(oldest) do if at + p[2] <= now then ended = ended + 1 end end
    if ended > 0 then redis.call('LTRIM', key, ended, -1) end
  until ended < 64
  local used, blocks = redis.call('LLEN', key), 0
  if used == 0 then newest = 0 end
  local admits = weight == 0 or used + weight <= p[1]
  if not admits and weight <= p[1] then
    blocks = tonumber(redis.call('LINDEX', key, used + weight - p[1] - 1))
  end
  return admits, used, newest, blocks, function()
    local left = weight
    while left > 0 do
      local some = {}
      for i = 1, math.min(left, 1000) do some[i] = text(now) end
      redis.call('RPUSH', key, unpack(some))
      left = left - #some
    end
    redis.call('PEXPIRE', key, text(math.max(math.ceil(p[2] / 1000) + 1, least)))
  end
end

-- 1 requests  2 the period
function kinds.C(key, weight, p)
  local period, present = p[2], window_end(p[2])
  local stops, previous, current = stored(key)
  if stops and stops > present then
    stops = present
    store(key, text(stops, previous, current), stops + period)
  end
  if stops and stops + period == present then previous, current = current, 0
  elseif not stops or stops ~= present then previous, current = 0, 0 end
  local room, left = p[1] - current - weight, present - now
  local admits = weight == 0
  if room >= 0 and not admits then
    -- previous * left <= room * period, in two limbs of 16 bits and the rest: the products are larger than 2^53.
    local function product(a, b)
      local low = (a % 65536) * b
      return math.floor(a / 65536) * b + math.floor(low / 65536), low % 65536
    end
    local a, b = product(previous, left)
    local c, d = product(room, period)
    admits = a < c or a == c and b <= d
  end
  return admits, present, previous, current, function()
    store(key, text(present, previous, current + weight), present + period)
  end
end

-- 1 failures without a delay  2 first delay  3 longest delay  4 how long after the end of the delay it is forgotten
function kinds.B(key, weight, p)
  local opens, failures = stored(key)
  if opens and opens > now + p[3] then
    opens = now + p[3]
    store(key, text(opens, failures), opens + p[4])
  end
  if not opens or now >= opens + p[4] then opens, failures = 0, 0 end
  return weight == 0 or opens <= now, opens, failures, 0, function()
    failures = failures + weight
    local delay = 0
    if failures > p[1] then delay = math.min(p[2] * 2 ^ (failures - p[1] - 1), p[3]) end
    opens = math.max(opens, now + delay)
    store(key, text(opens, failures), opens + p[4])
  end
end


-- The limit whose eleven arguments begin at this place: kind, weight, shadow (0 or 1), and eight numbers of its kind.
local function limit(key, at)
  local p = {}
  for j = 1, 8 do p[j] = tonumber(ARGV[at + 2 + j]) end
  return kinds[ARGV[at]](key, tonumber(ARGV[at + 1]), p)
end
-- Counts a request in all of its limits, or in none. Adds to `reply` whether it was counted, and for each limit four
-- numbers: whether it admits the request, and its state before the request.
local function take(keys, at, reply)
  local counts, refused, head = {}, false, #reply + 1
  reply[head] = 0
  for i, key in ipairs(keys) do
    local place = at + (i - 1) * 11
    local admits, a, b, c, count = limit(key, place)
    if admits then counts[#counts + 1] = count elseif ARGV[place + 2] == '0' then refused = true end
    for _, number in ipairs({ admits and 1 or 0, a, b, c }) do reply[#reply + 1] = number end
  end
  if not refused then
    reply[head] = 1
    for _, count in ipairs(counts) do count() end
  end
end
