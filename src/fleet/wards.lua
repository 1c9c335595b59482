#!lua name=weir_wards_2
--[[
Callers in quarantine and the canaries of sessions, as several gateways share them. Nothing is decided here:
a record is the sum of what gateways have seen (`src/guard/quarantine.rs`). Every function is one atomic step
and may be repeated.

All keys carry one hash tag and begin with KEYS[1], which is `weir:{tenant}:q:`:

  w:<caller>   the record of a caller: a hash of fields that are only ever added
  index        callers by the millisecond in which their record ends
  news         callers by the number of the last change of their record
  state        mark: a name that this state was given when it began; seq: the number of the last change
  s:<session>  the token of a session
]]

-- Callers that are told of in one answer, and changes that are remembered.
local BATCH, NEWS = 1000, 20000

local function state(prefix)
  local s = redis.call('HMGET', prefix .. 'state', 'mark', 'seq')
  return s[1] or '', s[2] or '0'
end

--[[
weir_wards_open_2 prefix | now mark

Begins a state named `mark` where there is none. Gives its name, the number of the last change, and everybody
who has a record.
]]
local function open(keys, args)
  local prefix = keys[1]
  redis.call('HSETNX', prefix .. 'state', 'mark', args[2])
  redis.call('ZREMRANGEBYSCORE', prefix .. 'index', '-inf', args[1])
  local reply = { state(prefix) }
  for _, caller in ipairs(redis.call('ZRANGE', prefix .. 'index', 0, -1)) do
    reply[#reply + 1] = caller
  end
  return reply
end

--[[
weir_wards_add_2 prefix | caller now ends, then pairs: field value

Adds fields to the record of a caller, which ends at `ends` or later. Of two values of a field the larger one
stays. Gives all its fields.
]]
local function add(keys, args)
  local prefix, caller, now, ends = keys[1], args[1], tonumber(args[2]), tonumber(args[3])
  local key = prefix .. 'w:' .. caller
  for at = 4, #args, 2 do
    local known = tonumber(redis.call('HGET', key, args[at]) or '')
    if not known or known < tonumber(args[at + 1]) then
      redis.call('HSET', key, args[at], args[at + 1])
    end
  end
  local keep = math.max(1, ends - now)
  -- Another gateway may know that it ends later.
  redis.call('PEXPIRE', key, string.format('%.0f', keep), 'NX')
  redis.call('PEXPIRE', key, string.format('%.0f', keep), 'GT')
  redis.call('ZADD', prefix .. 'index', 'GT', args[3], caller)
  local seq = redis.call('HINCRBY', prefix .. 'state', 'seq', 1)
  redis.call('ZADD', prefix .. 'news', seq, caller)
  redis.call('ZREMRANGEBYRANK', prefix .. 'news', 0, -(NEWS + 1))
  return redis.call('HGETALL', key)
end

--[[
weir_wards_news_2 prefix | seq

Gives the name of the state, the number up to which it tells, and whose record has changed after `seq`.
]]
local function news(keys, args)
  local prefix = keys[1]
  local mark, last = state(prefix)
  local found = redis.call('ZRANGE', prefix .. 'news', '(' .. args[1], '+inf', 'BYSCORE', 'LIMIT', 0, BATCH,
    'WITHSCORES')
  local reply = { mark, last }
  for at = 1, #found, 2 do
    reply[#reply + 1] = found[at]
  end
  if #found == 2 * BATCH then
    reply[2] = string.format('%.0f', tonumber(found[#found]))
  end
  return reply
end

--[[
weir_wards_token_2 prefix | session before keep mine

The token of a session: `mine` where it has none, unless that is empty. It is kept for `keep` milliseconds from
now on. Gives it, and that of the session `before`; both may be empty.
]]
local function token(keys, args)
  local prefix, mine = keys[1], args[4]
  local key = prefix .. 's:' .. args[1]
  if mine ~= '' then
    redis.call('SET', key, mine, 'NX')
  end
  redis.call('PEXPIRE', key, args[3], 'NX')
  redis.call('PEXPIRE', key, args[3], 'GT')
  return { redis.call('GET', key) or '', redis.call('GET', prefix .. 's:' .. args[2]) or '' }
end

redis.register_function('weir_wards_open_2', open)
redis.register_function('weir_wards_add_2', add)
redis.register_function('weir_wards_news_2', news)
redis.register_function('weir_wards_token_2', token)
