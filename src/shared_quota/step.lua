-- One look at the quota that the processes of an account share: hears what ended, and grants one permit or says when to ask
-- again. All windows of the lane and its budgets, or none.
-- KEYS   2 the lane's queue, its pause and its cuts; then two for the lane and for each budget: its log, its counts
-- ARGV   from 7: the permit's id ('' hears only), its priority, its lease, the grace of a line, 1 if the call is urgent, its
--        weight, 1 if other calls of this process wait, the round trip credit of this process, the names of the scopes; then for
--        each scope: its windows as text, the gap between calls, the number of windows, and seven for each window, see
--        `read_scope`; then what is told: how many, and four for each: its kind, its id, its weight, its age; see `hear`
-- Gives  the outcome; how long to wait; how many lines are before this one; now; the wall clock; the generation; then for each
--        scope how long it makes the call wait, and how many slots are in flight; then for each window what is used of it: of a
--        log in flight or not, of others without those in flight; of a day when it ends, what is used, and what of the next
--
-- A log is a sorted set. A member is one slot of a call. Its score is when the call ended, or, while it is in flight, when its
-- lease ends. So a process that died ends its calls by doing nothing. Windows that are no sliding log are counted in a hash.
local DENIED, GRANTED, HEARD, LOST = 0, 1, 2, 3
-- Each process before this one has so long to come, in microseconds.
local PER_LINE = 5000
-- Logs of at most this length have a credit, so that a process that has left binds the others for a minute only. A longer window
-- loses little without one.
local CREDITED = 60000000
-- Where only calls in flight hold a window up, no time is known: then it is asked again after this.
local RECHECK = 100000
local TURN = KEYS[2]
local LANE = string.match(TURN, ':turn:(.*)$')
local id, priority, lease, grace = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local is_urgent, weight, others_wait = ARGV[11] == '1', tonumber(ARGV[12]), ARGV[13] == '1'
local own_credit = tonumber(ARGV[14])
local at = 14

local function next_arg()
  at = at + 1
  return ARGV[at]
end

-- The members of a call, as arguments of ZADD or ZREM.
local function members(of, slots, score, out)
  for slot = 1, slots do
    if score then out[#out + 1] = score end
    out[#out + 1] = slot == 1 and of or of .. '.' .. slot
  end
  return out
end

-- A window is: its kind, how many calls at most, how many of them are for urgent calls only, its length; and for
--   L  a sliding log      -  -  -
--   B  a token bucket     the tokens gained in a length, -, -
--   D  a day              three midnights; the length is the guard
local function read_scope(key, name)
  local count_of_kind = {}
  local scope = { log = KEYS[key], counts = KEYS[key + 1], name = name, quota = next_arg(), windows = {}, kept = 0 }
  scope.gap = tonumber(next_arg())
  for index = 1, tonumber(next_arg()) do
    local window = { kind = next_arg(), limit = tonumber(next_arg()), reserve = tonumber(next_arg()), len = tonumber(next_arg()),
      a = tonumber(next_arg()), b = tonumber(next_arg()), c = tonumber(next_arg()) }
    if window.kind == 'L' then scope.kept = math.max(scope.kept, window.len) end
    -- By its kind, so that a window keeps its count when another one is added or removed. The unit of a level is the length.
    local number = (count_of_kind[window.kind] or 0) + 1
    count_of_kind[window.kind] = number
    window.field = window.kind .. number .. (window.kind == 'B' and '/' .. text(window.len) or '')
    scope.windows[index] = window
  end
  return scope
end

local scopes = {}
do
  local names = {}
  for name in string.gmatch(next_arg(), '[^ ]+') do names[#names + 1] = name end
  for index, name in ipairs(names) do scopes[index] = read_scope(1 + 2 * index, name) end
end

-- The state of a token bucket: its level, in tokens times its length, at a time.
local function level(scope, window)
  local state = redis.call('HGET', scope.counts, window.field)
  if not state then return 0 end
  local had, when = string.match(state, '^(%-?%d+) (%d+)$')
  return math.min(window.limit * window.len, had + (now - when) * window.a)
end

-- The two days in which a call of now may be counted: when they end, by the wall clock.
local function days(window)
  local ends = { window.a, window.b, window.c }
  local first = 1
  while first < 2 and raw - window.len >= ends[first] do first = first + 1 end
  return ends[first], ends[first + 1]
end

local function count_of(scope, window, day)
  return tonumber(redis.call('HGET', scope.counts, window.field .. ':' .. text(day)) or 0)
end

-- Counts calls that ended in the windows that are no log.
local function count(scope, slots)
  for _, window in ipairs(scope.windows) do
    if window.kind == 'B' then
      redis.call('HSET', scope.counts, window.field, text(level(scope, window) - slots * window.len) .. ' ' .. text(now))
    elseif window.kind == 'D' then
      local first, second = days(window)
      redis.call('HINCRBY', scope.counts, window.field .. ':' .. text(first), slots)
      if raw + window.len >= first then redis.call('HINCRBY', scope.counts, window.field .. ':' .. text(second), slots) end
    end
  end
end

-- Whether Redis has lost something of a scope, such as by eviction.
local function check_scope(scope)
  local noted = redis.call('HMGET', META, 'n:' .. scope.name, 'top:' .. scope.name, 'kept:' .. scope.name,
    'quota:' .. scope.name, 'lanes:' .. scope.name)
  scope.noted_lanes = noted[5] or ''
  local is_noted = string.find(scope.noted_lanes, ' ' .. LANE .. ' ', 1, true)
  scope.lanes = is_noted and scope.noted_lanes or scope.noted_lanes .. ' ' .. LANE .. ' '
  scope.kept = math.max(scope.kept, tonumber(noted[3] or 0))
  scope.noted = noted[4]
  local seen = redis.call('HGET', scope.counts, 'seen')
  if not noted[1] then
    if seen then redis.call('DEL', scope.log, scope.counts) end
  else
    local is_needed = tonumber(noted[2]) > now
    if is_needed and (not seen or redis.call('ZCARD', scope.log) ~= tonumber(noted[1])) then return false end
  end
  return true
end

-- Counts the calls whose leases have ended since the last look.
local function expire(scope)
  for _, window in ipairs(scope.windows) do
    -- A bucket of which nothing is known is empty, and begins to fill.
    if window.kind == 'B' then redis.call('HSETNX', scope.counts, window.field, '0 ' .. text(now)) end
  end
  local seen = tonumber(redis.call('HGET', scope.counts, 'seen') or now)
  if now > seen then
    local ended = redis.call('ZCOUNT', scope.log, '(' .. text(seen), text(now))
    if ended > 0 then count(scope, ended) end
  end
  redis.call('HSET', scope.counts, 'seen', text(now))
end

-- What is told: E the call ended, or its lease now ends, so long ago; U it was not used; R it is told again after a loss; and
-- W, see `recount`.
local function hear(scope, kind, of, slots, age)
  local score = now - age
  if kind == 'U' then
    redis.call('ZREM', scope.log, unpack(members(of, slots, nil, {})))
  elseif kind == 'R' then
    scope.is_charged = true
    -- A call that is known may have been in flight for longer than Redis knew.
    redis.call('ZADD', scope.log, 'GT', unpack(members(of, slots, text(score), {})))
  else
    local had = tonumber(redis.call('ZSCORE', scope.log, of) or 0)
    redis.call('ZADD', scope.log, 'XX', unpack(members(of, slots, text(score), {})))
    if had > now and score <= now then count(scope, slots) end
  end
end

-- What is told after a loss, once under its token: six numbers for each window. For a day: when it ends, what this process heard
-- last of its count, and of that of the next day; and what it used since in the days that end at the three midnights. For a
-- bucket the fourth is what it used since. The count is then no less than any process has heard, and what each has used since.
-- It may count a call twice, and never misses one that a living process knows of.
local function recount(scope, token)
  local teller, number = string.match(token, '^(.*):(%d+)$')
  number = tonumber(number)
  for _, window in ipairs(scope.windows) do
    local told = {}
    for index = 1, 6 do told[index] = tonumber(next_arg()) end
    local told_as = 'told:' .. window.field .. ':' .. teller
    if number > tonumber(redis.call('HGET', scope.counts, told_as) or 0) then
      redis.call('HSET', scope.counts, told_as, number)
      if window.kind == 'D' then
        local ends = { window.a, window.b, window.c }
        for index, day in ipairs(ends) do
          local heard = day == told[1] and told[2] or ends[index - 1] == told[1] and told[3] or 0
          local own = told[3 + index]
          local field = window.field .. ':' .. text(day)
          local added = tonumber(redis.call('HGET', scope.counts, 'added:' .. field) or 0)
          local total = math.max(count_of(scope, window, day), heard + added) + own
          if total > 0 then redis.call('HSET', scope.counts, field, text(total), 'added:' .. field, text(added + own)) end
        end
      elseif window.kind == 'B' then
        -- No broker's bucket holds less than nothing, however many calls a process has sent since.
        local had = level(scope, window)
        local left = math.max(had - told[4] * window.len, math.min(had, 0))
        redis.call('HSET', scope.counts, window.field, text(left) .. ' ' .. text(now))
      end
    end
  end
end

-- What is noted of a scope: how many slots its log has, until when its state matters, and for how long a slot is kept.
local function save_scope(scope)
  redis.call('ZREMRANGEBYSCORE', scope.log, '-inf', text(now - scope.kept))
  local top = tonumber(redis.call('ZRANGE', scope.log, -1, -1, 'WITHSCORES')[2] or now) + scope.kept
  for _, window in ipairs(scope.windows) do
    if window.kind == 'D' then top = math.max(top, now + (days(window)) - raw) end
    if window.kind == 'B' then top = math.max(top, now + math.ceil(window.limit * window.len / window.a)) end
  end
  redis.call('HSET', META, 'n:' .. scope.name, redis.call('ZCARD', scope.log), 'top:' .. scope.name, text(top),
    'kept:' .. scope.name, text(scope.kept))
  if scope.noted ~= scope.quota then
    -- For the status. It warns of processes that have different windows, since each notes those of the other.
    redis.call('HSET', META, 'quota:' .. scope.name, scope.quota)
    if scope.noted then redis.call('HSET', META, 'other:' .. scope.name, text(now) .. ' ' .. scope.noted) end
  end
  -- Which lanes have calls in it, for its credit.
  if scope.is_charged and scope.lanes ~= scope.noted_lanes then redis.call('HSET', META, 'lanes:' .. scope.name, scope.lanes) end
  redis.call('PEXPIRE', scope.log, keep)
  redis.call('PEXPIRE', scope.counts, keep)
end

local function used(scope, window)
  if window.kind == 'L' then return redis.call('ZCOUNT', scope.log, '(' .. text(now - window.len), '+inf') end
  return math.ceil((window.limit * window.len - level(scope, window)) / window.len)
end

local reply = {}
local function answer(outcome, wait, before)
  reply[1], reply[2], reply[3], reply[4], reply[5], reply[6] = outcome, math.ceil(wait), before, now, raw, born
  for _, scope in ipairs(scopes) do
    reply[#reply + 1] = math.ceil(scope.wait or 0)
    reply[#reply + 1] = redis.call('ZCOUNT', scope.log, '(' .. text(now), '+inf')
  end
  for _, scope in ipairs(scopes) do
    for _, window in ipairs(scope.windows) do
      if window.kind == 'D' then
        local first, second = days(window)
        reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] =
          first, count_of(scope, window, first), count_of(scope, window, second)
      else
        reply[#reply + 1] = used(scope, window)
      end
    end
  end
  return reply
end

for _, scope in ipairs(scopes) do
  if not check_scope(scope) then
    -- Every process tells what it holds. What is left stays.
    redis.call('HSET', scope.counts, 'seen', text(now))
    save_scope(scope)
    bear()
    save_clock()
    return answer(LOST, 0, 0)
  end
end
for _, scope in ipairs(scopes) do expire(scope) end
-- A credit that has fallen binds the others together with the calls that are told, and not only from the next heartbeat on.
if own_credit < tonumber(redis.call('HGET', META, 'credit:' .. LANE) or 0) then
  tell_credit(LANE, own_credit)
  redis.call('HSET', META, 'credit:' .. LANE, text(own_credit))
end
local is_restored = false
for _ = 1, tonumber(next_arg()) do
  local kind, of, slots, age = next_arg(), next_arg(), tonumber(next_arg()), tonumber(next_arg())
  if kind == 'W' then
    for _, scope in ipairs(scopes) do recount(scope, of) end
  else
    for _, scope in ipairs(scopes) do hear(scope, kind, of, slots, age) end
  end
  is_restored = is_restored or kind == 'W'
end
local function save()
  save_clock()
  for _, scope in ipairs(scopes) do save_scope(scope) end
end
if ARGV[3] ~= born and not is_restored then
  save()
  return answer(LOST, 0, 0)
end
if id == '' then
  save()
  return answer(HEARD, 0, 0)
end
if hold > now then
  save()
  scopes[1].wait = hold - now
  return answer(DENIED, hold - now, 0)
end

-- The processes that wait, and what holds the lane up.
local mine, pause, cut = me .. ':' .. priority, 0, 100
local since, lines = now, {}
do
  local fields = redis.call('HGETALL', TURN)
  for index = 1, #fields, 2 do
    local name, value = fields[index], fields[index + 1]
    if name == 'pause' then pause = tonumber(value)
    elseif string.sub(name, 1, 4) == 'cut:' then
      local percent, till = string.match(value, '^(%d+) (%d+)$')
      if tonumber(till) < now then redis.call('HDEL', TURN, name) else cut = math.min(cut, tonumber(percent)) end
    else
      local from, named, till, slots = string.match(value, '^(%d+) (%d+) (%d+) (%d+)$')
      local line = { name = name, since = tonumber(from), at = tonumber(named), slots = tonumber(slots),
        priority = tonumber(string.match(name, ':(%d+)$')) }
      if name == mine then since = line.since
      elseif tonumber(till) < now then redis.call('HDEL', TURN, name)
      else lines[#lines + 1] = line end
    end
  end
end
local ahead_of_me = {}
for _, line in ipairs(lines) do
  local is_before = line.since < since or line.since == since and line.name < mine
  if line.priority < priority or line.priority == priority and is_before then ahead_of_me[#ahead_of_me + 1] = line end
end

-- The shares of processes that may be cut off.
local lost = {}
if now > tonumber(known[6] or now) then
  for name, beat, processes, rank in string.gmatch(redis.call('HGET', META, 'shares') or '', '([^: ]+):(%d+):(%d+):(%d+)') do
    if name ~= me and now - beat > LOST_AFTER then lost[#lost + 1] = { tonumber(processes), tonumber(rank) } end
  end
end
-- How many calls a window has for this one: without these shares, without a cut, and without
-- what is kept for urgent calls.
local function bound(window, is_lane)
  local limit, kept = window.limit, 0
  for _, share in ipairs(lost) do kept = kept + math.max(0, math.ceil((limit - share[2]) / share[1])) end
  if not is_urgent then
    if is_lane and cut < 100 then kept = math.max(kept, limit - math.max(weight, math.floor(limit * cut / 100))) end
    kept = kept + window.reserve
  end
  -- An exit goes out, whatever the others may be doing.
  return is_urgent and math.max(limit - kept, math.min(weight, limit)) or limit - kept
end

-- How many slots of a log are held by calls that hang: in flight for longer than the window and than two seconds. An id ends
-- with the latest moment at which the call can have been sent.
local function hung(scope, window)
  if not is_urgent then return 0 end
  if not scope.open then
    scope.open = redis.call('ZRANGEBYSCORE', scope.log, '(' .. text(now), '+inf', 'LIMIT', 0, 1000)
  end
  local slots, before = 0, now - math.max(window.len, 2000000)
  for _, member in ipairs(scope.open) do
    local sent = tonumber(string.match(member, '@(%d+)'))
    if sent and sent <= before then slots = slots + 1 end
  end
  return slots
end

-- From when on a window has room for `more` slots beside those of this call.
local function room_in(scope, window, more)
  local limit = window.bound
  if window.kind == 'L' then
    local rank = limit - weight - more + 1
    if rank < 1 then return now + window.span end
    local score = redis.call('ZRANGE', scope.log, -rank, -rank, 'WITHSCORES')[2]
    if not score then return 0 end
    -- A call in flight frees its slot a window after its end, which is not before now: no slot is free sooner.
    local free = math.min(tonumber(score), now) + window.span
    if free > now then
      local borrowed = hung(scope, window)
      if borrowed > 0 then
        score = redis.call('ZRANGE', scope.log, -rank - borrowed, -rank - borrowed, 'WITHSCORES')[2]
        if not score or tonumber(score) + window.span <= now then return 0 end
      end
    end
    return free
  end
  local wanted = redis.call('ZCOUNT', scope.log, '(' .. text(now), '+inf') + weight + more
  if wanted > limit then return now + RECHECK end
  if window.kind == 'B' then
    -- What a bound keeps is kept of the level too.
    local missing = (wanted + window.limit - limit) * window.len - level(scope, window)
    return missing <= 0 and 0 or now + math.ceil(missing / window.a)
  end
  local first, second = days(window)
  if count_of(scope, window, first) + wanted <= limit then return 0 end
  if count_of(scope, window, second) + wanted <= limit then second = first end
  return now + second + window.len - raw
end

-- How much earlier than its length after a call ended a slot of a scope is free: the least credit of all processes, and of all
-- lanes that use it.
local function credit_of(scope)
  local least = own_credit
  for lane in string.gmatch(scope.lanes, '[^ ]+') do
    if least == 0 then break end
    least = math.min(least, tonumber(redis.call('HGET', META, 'credit:' .. lane) or 0))
  end
  return least
end

for index, scope in ipairs(scopes) do
  local credit = credit_of(scope)
  for _, window in ipairs(scope.windows) do
    window.bound = bound(window, index == 1)
    -- A call in flight holds its slot, however short the window is.
    window.span = window.len <= CREDITED and math.max(1, window.len - credit) or window.len
  end
end
local function room(more)
  local free = 0
  for _, scope in ipairs(scopes) do
    local here = 0
    if not is_urgent and scope.gap > 0 then
      here = tonumber(redis.call('HGET', scope.counts, 'gap') or 0)
      if more > 0 then here = math.max(here, now) + more * scope.gap end
    end
    for _, window in ipairs(scope.windows) do here = math.max(here, room_in(scope, window, more)) end
    if here <= now then here = 0 end
    scope.wait = here > 0 and here - now or 0
    free = math.max(free, here)
  end
  return free
end

-- A line that may not go before I may does not hold me up: it may wait for a budget that I do not need.
local first = room(0)
local free, ahead, before = first, 0, 0
for _ = 1, 4 do
  local slots, count_before = 0, 0
  for _, line in ipairs(ahead_of_me) do
    if line.at <= math.max(free, now) then slots, count_before = slots + line.slots, count_before + 1 end
  end
  if slots == ahead then break end
  ahead, before = slots, count_before
  free = room(ahead)
end
if before > 0 then room(0) end
if pause > now and pause > free then free = pause end
if free == 0 then
  for _, scope in ipairs(scopes) do
    scope.is_charged = true
    redis.call('ZADD', scope.log, unpack(members(id, weight, text(now + lease), {})))
    if scope.gap > 0 then
      local gap = tonumber(redis.call('HGET', scope.counts, 'gap') or 0)
      redis.call('HSET', scope.counts, 'gap', text(math.max(gap, now) + weight * scope.gap))
    end
  end
  -- To the end of the round.
  if others_wait then
    redis.call('HSET', TURN, mine, text(now) .. ' ' .. text(now) .. ' ' .. text(now + grace) .. ' ' .. weight)
  else
    redis.call('HDEL', TURN, mine)
  end
  redis.call('PEXPIRE', TURN, keep)
  save()
  return answer(GRANTED, 0, before)
end
-- Should those before me not come, the next in line takes it.
if before > 0 and pause <= now then free = math.min(free, math.max(first, now) + PER_LINE * before) end
redis.call('HSET', TURN, mine, text(since) .. ' ' .. text(free) .. ' ' .. text(free + grace) .. ' ' .. weight)
redis.call('PEXPIRE', TURN, keep)
save()
if before > 0 or pause > now then scopes[1].wait = math.max(scopes[1].wait, free - now) end
return answer(DENIED, free - now, before)
