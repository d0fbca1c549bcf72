-- A verdict.
-- KEYS   one for each limit
-- ARGV   from 3 on eleven for each limit
-- Gives  the moment, and what `take` adds.
local reply = { now }
take(KEYS, 3, reply)
return reply
