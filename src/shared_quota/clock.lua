-- What all scripts of an account begin with: the time, and whether Redis still knows what it knew.
-- KEYS   1 what is known of the account as a whole
-- ARGV   1 the moment in microseconds, or '' for the time of the host of Redis
--        2 the latest moment that it can be, by what this process heard last and its own steady clock, or ''
--        3 the generation that this process heard last, or ''
--        4 which run of Redis this process is connected to, or ''
--        5 this process
--        6 for how many milliseconds keys are kept at least
-- Gives  `now`, which never runs backwards, and ahead of a process's own clock by SLACK at most between two of its answers;
--        `raw`, the wall clock; `born`, the generation: it changes if anything was lost; `hold`, until when nothing is granted;
--        `keep`, for how many milliseconds keys are kept
--
-- Numbers are below 2^53 and so exact. `%.0f` because Lua writes large numbers with an exponent.
local SETTLE = 1500000
local SLACK = 100000
-- A process that was silent for longer may go on with its share, which is left alone.
local LOST_AFTER = 3000000
local function text(x) return string.format('%.0f', x) end
local META, me = KEYS[1], ARGV[5]
local raw = tonumber(ARGV[1])
if not raw then
  local time = redis.call('TIME')
  raw = time[1] * 1000000 + time[2]
end
local known = redis.call('HMGET', META, 'last', 'offset', 'born', 'run', 'hold', 'lost_from', 'expiry')
local last, offset = tonumber(known[1] or 0), tonumber(known[2] or 0)
local born, run, hold = known[3] or '', known[4] or '', tonumber(known[5] or 0)
-- All keys of the account expire after the longest time that a process has asked for, so that no script shortens an expiry. META
-- must outlive what it describes: without it `check_scope` in step.lua deletes the calls of a quota.
local keep = text(math.max(tonumber(ARGV[6]), tonumber(known[7] or 0)))
local now = raw + offset
if now < last then
  -- The clock of the host was set back. What passed meanwhile is unknown, so nothing did.
  offset, now = offset + last - now, last
elseif ARGV[3] == born and ARGV[2] ~= '' then
  -- It was set forward: calls would look older than they are. How much really passed is unknown, so nothing did.
  if now > math.max(last, tonumber(ARGV[2])) + SLACK then offset, now = offset - (now - last), last end
end
-- All processes tell what they hold before anything is granted.
local function settle() hold = now + SETTLE end
local function bear()
  born = text(raw) .. '-' .. me
  settle()
end
if born == '' then bear() end
if ARGV[4] ~= '' and ARGV[4] ~= run then
  -- Another run of Redis may lack the last writes of the one before.
  if run ~= '' then settle() end
  run = ARGV[4]
end
local function save_clock()
  redis.call('HSET', META, 'last', text(now), 'offset', text(offset), 'born', born, 'run', run, 'hold', text(hold),
    'expiry', keep)
  redis.call('PEXPIRE', META, keep)
end

-- For how long the round trip credit that a process told binds the others: as long as a window that has a credit may remember
-- one of its calls. See `CREDITED` in step.lua.
local CREDIT_FOR = 61000000
-- Notes the credit of this process for a lane. Returns those of the others that still hold, by the names of their processes.
local function tell_credit(lane, credit)
  local lines, others = { table.concat({ me, text(credit), text(now + CREDIT_FOR) }, ':') }, {}
  for name, told, till in string.gmatch(redis.call('HGET', META, 'credits:' .. lane) or '', '([^: ]+):(%d+):(%d+)') do
    if name ~= me and tonumber(till) > now then
      lines[#lines + 1], others[name] = table.concat({ name, told, till }, ':'), tonumber(told)
    end
  end
  redis.call('HSET', META, 'credits:' .. lane, table.concat(lines, ' '))
  return others
end
