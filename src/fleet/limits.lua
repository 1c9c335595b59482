#!lua name=weir_limits_1
--[[
Limits of requests, tokens and concurrency that several gateways share: the rules of `src/limit.rs`.
Every function is one atomic step. Leaving and renewing may be repeated; so may admitting, while the
permit is remembered.

All keys carry one hash tag and begin with KEYS[1], which is `weir:{tenant}:l:`:

  c:<claim>    the last minute of a claim: r and t, the sums; r<second> and t<second>, what they are the
               sums of; f and l, the first and the last of those seconds
  o:<claim>    permits that hold a place among its concurrent requests, by the time their places lapse
  p:<permit>   the second in which the permit was counted; forgotten after a minute, when it does not count

A claim is `<kind>:<id>`. `now` is in seconds, and empty for the clock of this server, so that the clocks of
gateways do not matter; places lapse unless they are renewed, so that a gateway that is gone holds none.
]]

local MINUTE = 60

-- Second and millisecond.
local function clock(now)
  if now ~= '' then
    return tonumber(now), tonumber(now) * 1000
  end
  local time = redis.call('TIME')
  return tonumber(time[1]), tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

-- The minute up to now, or an empty one.
local function load(key, now)
  local v = redis.call('HMGET', key, 'r', 't', 'f', 'l')
  local s = { key = key, r = tonumber(v[1] or '0'), t = tonumber(v[2] or '0'),
    f = tonumber(v[3] or ''), l = tonumber(v[4] or '') }
  local over = now - MINUTE
  -- A clock that was set back leaves counts in the future, which would take long to pass.
  if s.l and (s.l <= over or s.l > now + MINUTE) then
    redis.call('DEL', key)
    return { key = key, r = 0, t = 0 }
  end
  if s.f and s.f <= over then
    for second = s.f, over do
      local r, t = 'r' .. text(second), 't' .. text(second)
      local gone = redis.call('HMGET', key, r, t)
      if gone[1] then
        s.r = s.r - tonumber(gone[1])
        s.t = s.t - tonumber(gone[2])
        redis.call('HDEL', key, r, t)
      end
    end
    s.f = over + 1
    redis.call('HSET', key, 'r', text(s.r), 't', text(s.t), 'f', text(s.f))
  end
  return s
end

local function add(s, at, requests, tokens)
  s.r, s.t = s.r + requests, s.t + tokens
  s.f, s.l = math.min(s.f or at, at), math.max(s.l or at, at)
  redis.call('HINCRBY', s.key, 'r' .. text(at), text(requests))
  redis.call('HINCRBY', s.key, 't' .. text(at), text(tokens))
  redis.call('HSET', s.key, 'r', text(s.r), 't', text(s.t), 'f', text(s.f), 'l', text(s.l))
  redis.call('EXPIRE', s.key, 2 * MINUTE)
end

-- Takes back what was counted in a second; whether that second still counts.
local function remove(s, at, requests, tokens)
  local r, t = 'r' .. text(at), 't' .. text(at)
  local kept = redis.call('HMGET', s.key, r, t)
  if not kept[1] then
    return false
  end
  requests = math.min(requests, tonumber(kept[1]))
  tokens = math.min(tokens, tonumber(kept[2]))
  s.r, s.t = s.r - requests, s.t - tokens
  redis.call('HSET', s.key, r, text(tonumber(kept[1]) - requests), t, text(tonumber(kept[2]) - tokens),
    'r', text(s.r), 't', text(s.t))
  return true
end

-- Seconds until the sum of field `of` has fallen to `most`.
local function wait(s, of, left, most, now)
  for second = s.f or 0, s.l or -1 do
    if left <= most then
      break
    end
    left = left - tonumber(redis.call('HGET', s.key, of .. text(second)) or '0')
    if left <= most then
      return math.max(1, second + MINUTE - now)
    end
  end
  return left <= most and 1 or MINUTE
end

-- Of the tighter of two: limit, what is left, and seconds until all of it is there again.
local function tighter(kept, s, limit, used, now)
  local left = math.max(0, limit - used)
  if kept and kept[2] <= left then
    return kept
  end
  return { limit, left, used == 0 and 0 or math.max(0, s.l + MINUTE - now) }
end

-- What is left of the limits of all claims, as they stand.
local function standing(claims, now)
  local requests, tokens, places = nil, nil, nil
  for _, claim in ipairs(claims) do
    local s = claim.minute
    if claim.r then
      requests = tighter(requests, s, claim.r, s.r, now)
    end
    if claim.t then
      tokens = tighter(tokens, s, claim.t, s.t, now)
    end
    if claim.o then
      local left = math.max(0, claim.o - redis.call('ZCARD', claim.open))
      if not places or left < places[2] then
        places = { claim.o, left, 0 }
      end
    end
  end
  local reply = { 'in' }
  for _, left in ipairs({ requests or {}, tokens or {}, places or {} }) do
    for i = 1, 3 do
      reply[#reply + 1] = left[i] and text(left[i]) or ''
    end
  end
  return reply
end

-- The claims that begin at `at`, with what is counted of them.
local function read(prefix, args, at, now, millis)
  local claims = {}
  for first = at, #args, 4 do
    local claim = { name = args[first], r = tonumber(args[first + 1]), t = tonumber(args[first + 2]),
      o = tonumber(args[first + 3]) }
    claims[#claims + 1] = claim
    if claim.o then
      claim.open = prefix .. 'o:' .. claim.name
      redis.call('ZREMRANGEBYSCORE', claim.open, '-inf', millis)
    end
    if claim.r or claim.t then
      claim.minute = load(prefix .. 'c:' .. claim.name, now)
    end
  end
  return claims
end

--[[
weir_limit_admit_1 prefix | now lapse permit tokens, then of each claim: name requests tokens places

`lapse` is how many milliseconds places last without being renewed; the limits of a claim are empty for none.
Replies {'in', then of requests, tokens and places: limit, left, reset}, each empty without such a limit; or
{'out', number of the claim, which of its limits, limit, seconds to wait}, and nothing is counted.
]]
local function admit(keys, args)
  local prefix, now, millis = keys[1], clock(args[1])
  local lapse, permit, tokens = tonumber(args[2]), args[3], tonumber(args[4])
  local known = redis.call('EXISTS', prefix .. 'p:' .. permit) == 1
  local claims = read(prefix, args, 5, now, millis)
  for number, claim in ipairs(claims) do
    local s = claim.minute
    if claim.o and not redis.call('ZSCORE', claim.open, permit)
      and redis.call('ZCARD', claim.open) >= claim.o then
      return { 'out', text(number - 1), 'places', text(claim.o), '1' }
    end
    if s and not known then
      claim.used = claim.t and math.min(tokens, claim.t) or tokens
      if claim.r and s.r >= claim.r then
        return { 'out', text(number - 1), 'requests', text(claim.r),
          text(wait(s, 'r', s.r, math.max(0, claim.r - 1), now)) }
      end
      if claim.t and s.t + claim.used > claim.t then
        return { 'out', text(number - 1), 'tokens', text(claim.t),
          text(wait(s, 't', s.t, claim.t - claim.used, now)) }
      end
    end
  end
  local counted = false
  for _, claim in ipairs(claims) do
    if claim.o then
      redis.call('ZADD', claim.open, millis + lapse, permit)
      redis.call('PEXPIRE', claim.open, 2 * lapse)
    end
    if claim.minute and not known then
      add(claim.minute, now, 1, claim.used)
      counted = true
    end
  end
  if counted then
    redis.call('SET', prefix .. 'p:' .. permit, text(now), 'EX', MINUTE)
  end
  return standing(claims, now)
end

--[[
weir_limit_standing_1 prefix | now, then of each claim: name requests tokens places

Replies as weir_limit_admit_1 does when it lets a request in, and counts nothing.
]]
local function look(keys, args)
  local now, millis = clock(args[1])
  return standing(read(keys[1], args, 2, now, millis), now)
end

--[[
weir_limit_leave_1 prefix | now permits, then of each permit: id ending used claims, then of each claim: name places tokens

`ending` is `kept` (it counts as it was admitted), `used` (its tokens were `used`) or `cancelled` (it does not
count). Of a claim, `places` says whether it has a limit of concurrency, and `tokens` what was counted, empty
when nothing is counted for it.
]]
local function leave(keys, args)
  local prefix, now = keys[1], clock(args[1])
  local at = 3
  for _ = 1, tonumber(args[2]) do
    local permit, ending, used, claims = args[at], args[at + 1], tonumber(args[at + 2]), tonumber(args[at + 3])
    at = at + 4
    local counted = tonumber(redis.call('GETDEL', prefix .. 'p:' .. permit) or '')
    for _ = 1, claims do
      local name, places, tokens = args[at], args[at + 1], tonumber(args[at + 2])
      at = at + 3
      if places == '1' then
        redis.call('ZREM', prefix .. 'o:' .. name, permit)
      end
      if counted and tokens and ending ~= 'kept' then
        local s = load(prefix .. 'c:' .. name, now)
        local requests = ending == 'cancelled' and 1 or 0
        if remove(s, counted, requests, tokens) and ending == 'used' then
          add(s, counted, 0, used)
        end
      end
    end
  end
  return 'ok'
end

--[[
weir_limit_renew_1 prefix | now lapse, then pairs: claim permit

Renews places, those that lapsed meanwhile included: whoever renews them is alive.
]]
local function renew(keys, args)
  local _, millis = clock(args[1])
  local lapse = tonumber(args[2])
  for at = 3, #args, 2 do
    local key = keys[1] .. 'o:' .. args[at]
    redis.call('ZADD', key, millis + lapse, args[at + 1])
    redis.call('PEXPIRE', key, 2 * lapse)
  end
  return 'ok'
end

redis.register_function('weir_limit_admit_1', admit)
redis.register_function('weir_limit_standing_1', look)
redis.register_function('weir_limit_leave_1', leave)
redis.register_function('weir_limit_renew_1', renew)
