#!lua name=weir_ledger_1
--[[
Balances that several gateways share. Every function is one atomic step and may be repeated.

Amounts are nano-dollars below 2^53, where a double is exact; they come and go as decimal strings.
All keys carry one hash tag and begin with the prefix of KEYS[1], which is `<prefix>state`:

  state            epoch, run (of the server), phase, ver (counts changes); `since` and `from` when that is being put
                   together: when it began, and when it may be open at the earliest
  live, nonce      gateways by their last sign of life, and the process behind each: `<place of its log>/<random>`
  waiting          gateways that grants wait for while the state is put together again
  a:<account>      tag and win(dow) of its period, posted, pending (held in this window), held (in any),
                   base, the registers of pushes; `gen` counts changes of the period, `gwin` is the
                   window in which the last one happened, `was` the one before
  w:<account>:<l>  what each gateway has charged in a window, totals that only grow; the label l is
                   `gen` and the start of the window
  h:<gateway>      its open holds
  x:<gateway>      holds that were charged because the gateway was gone
  changed          accounts by the `ver` of their last change
  done             holds that ended before they were known

  posted = base + the sum over the present window's totals, where entries that begin with `-` count below zero.
]]

local MAX = 9007199254740992
local MONTH = 3456000
local DAY = 'daily UTC'
-- A gateway gives a sign of life every second: after so long it is dead, or another one is in its place. One
-- on a busy machine may be late by more than a second.
local ALIVE = 2500
-- How long leases give way to requests that lack their money.
local SHORT = 10000
local SEPARATOR, PART = '\1', '\2'

-- Of the server that runs this, so that another one in its place is noticed.
local run

local function run_id()
  if not run then
    run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  end
  return run
end

-- Numbers that were written lately: most of those in a reply are limits and windows, always the same.
local texts, room = {}, 0

local function text(number)
  local known = texts[number]
  if known then
    return known
  end
  if room == 0 then
    texts, room = {}, 1000
  end
  -- Zero has a sign, and is one key with and without it.
  known = number == 0 and '0' or string.format('%.0f', number)
  texts[number], room = known, room - 1
  return known
end

local function clamped(amount)
  return math.max(0, math.min(MAX, amount))
end

local function prefix(keys)
  return string.sub(keys[1], 1, -6)
end

local function millis()
  local now = redis.call('TIME')
  return tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
end

local function split(packed, separator)
  local parts, from = {}, 1
  while true do
    local at = string.find(packed, separator, from, true)
    if not at then
      parts[#parts + 1] = string.sub(packed, from)
      return parts
    end
    parts[#parts + 1] = string.sub(packed, from, at - 1)
    from = at + 1
  end
end

local function changed(p)
  return redis.call('HINCRBY', p .. 'state', 'ver', 1)
end

-- Whether the state is the one the gateway knows: 'ok', 'lost', 'changed' or 'recovering'.
local function standing(p, epoch, seen)
  local state = redis.call('HMGET', p .. 'state', 'epoch', 'run', 'ver', 'phase')
  if not state[1] or state[2] ~= run_id() then
    return 'lost'
  end
  if state[1] ~= epoch then
    return 'changed'
  end
  if tonumber(state[3] or '0') < tonumber(seen) then
    return 'lost'
  end
  if state[4] ~= 'open' then
    return 'recovering'
  end
  return 'ok'
end

local FIELDS = {
  'tag', 'win', 'gen', 'gwin', 'was', 'posted', 'pending', 'held', 'base', 'bv', 'pt', 'pp', 'pv',
}

-- An account as it stands, or nil.
local function load(p, id)
  local v = redis.call('HMGET', p .. 'a:' .. id, unpack(FIELDS))
  if not v[1] then
    return nil
  end
  return {
    id = id, tag = v[1], win = tonumber(v[2]), gen = tonumber(v[3]), gwin = tonumber(v[4]),
    was = tonumber(v[5]), posted = tonumber(v[6]), pending = tonumber(v[7]), held = tonumber(v[8]),
    base = tonumber(v[9]), bv = tonumber(v[10]),
    pt = tonumber(v[11] or ''), pp = tonumber(v[12] or ''), pv = tonumber(v[13] or '0'),
  }
end

local function save(p, a)
  local key = p .. 'a:' .. a.id
  redis.call('HSET', key, 'tag', a.tag, 'win', text(a.win), 'gen', text(a.gen), 'gwin', text(a.gwin),
    'was', text(a.was), 'posted', text(a.posted), 'pending', text(a.pending), 'held', text(a.held),
    'base', text(a.base), 'bv', text(a.bv), 'pv', text(a.pv))
  if a.pt then
    redis.call('HSET', key, 'pt', text(a.pt), 'pp', text(a.pp))
  else
    redis.call('HDEL', key, 'pt', 'pp')
  end
end

-- Notes a change of an account. One that is noted and not there was deleted: see `merge`.
local function note(p, id, ver)
  if redis.call('EXISTS', p .. 'a:' .. id) == 1 then
    redis.call('ZADD', p .. 'changed', ver, id)
  end
end

local function fresh(id, tag, win)
  return {
    id = id, tag = tag, win = win, gen = 1, gwin = win, was = win, posted = 0, pending = 0, held = 0,
    base = 0, bv = 0, pv = 0,
  }
end

local function window(p, id, label)
  return p .. 'w:' .. id .. ':' .. label
end

local function label_of(gen, win)
  return text(gen) .. ':' .. text(win)
end

local function present(a)
  return label_of(a.gen, a.win)
end

-- What all gateways have charged in a window.
local function charged(p, id, label)
  local entries, sum = redis.call('HGETALL', window(p, id, label)), 0
  for i = 1, #entries, 2 do
    local amount = tonumber(entries[i + 1])
    if string.sub(entries[i], 1, 1) == '-' then
      amount = -amount
    end
    sum = sum + amount
  end
  return sum
end

local function roll(p, a, win)
  a.win, a.pending, a.base, a.bv = win, 0, 0, 0
  -- A charge may have been said before anything was held in the window.
  a.posted = clamped(charged(p, a.id, present(a)))
end

local function move(p, a, tag, win, gen, look)
  -- What everybody has charged goes along, so that it goes on growing there.
  local before = look and {} or redis.call('HGETALL', window(p, a.id, present(a)))
  local after = window(p, a.id, label_of(gen, win))
  for i = 1, #before, 2 do
    local known = tonumber(redis.call('HGET', after, before[i]) or '0')
    if tonumber(before[i + 1]) > known then
      redis.call('HSET', after, before[i], before[i + 1])
    end
  end
  if tag ~= 'none' and not look then
    redis.call('EXPIRE', after, MONTH)
  end
  a.was, a.gen, a.gwin, a.tag, a.win = a.win, gen, win, tag, win
  a.pending = a.held
  a.base = a.posted - charged(p, a.id, present(a))
end

-- The account under a gateway's policy, brought to its present window. Nil when it was there once.
local function bring(p, spec, look)
  local a = load(p, spec.id)
  if not a then
    if redis.call('ZSCORE', p .. 'changed', spec.id) then
      return nil
    end
    a = fresh(spec.id, spec.tag, spec.win)
    a.posted, a.base, a.dirty = clamped(spec.opening), clamped(spec.opening), true
  elseif a.tag ~= spec.tag then
    move(p, a, spec.tag, spec.win, a.gen + 1, look)
    a.dirty = true
  elseif spec.win > a.win then
    roll(p, a, spec.win)
    a.dirty = true
  end
  a.pushed = a.pt ~= nil and a.pp == spec.limit
  a.limit = a.pushed and a.pt or spec.limit
  return a
end

local function store(p, a)
  if a.dirty then
    save(p, a)
    note(p, a.id, changed(p))
  end
end

local function left(a)
  return a.limit - a.posted - a.pending
end

-- Exact products of whole numbers below 2^30, as two digits of 15 and 45 bits.
local function product(x, y)
  local high, low = math.floor(y / 32768), y % 32768
  local below = x * low
  return x * high + math.floor(below / 32768), below % 32768
end

-- Whether remaining / total >= threshold / 10^9.
local function reaches(remaining, total, threshold)
  if total <= 0 or remaining <= 0 then
    return threshold == 0
  end
  local whole, rest = math.floor(total / 1e9), total % 1e9
  local over = remaining - threshold * whole
  if over < 0 then
    return false
  end
  if over >= 1e9 then
    return true
  end
  local ah, al = product(over, 1e9)
  local bh, bl = product(threshold, rest)
  return ah > bh or (ah == bh and al >= bl)
end

local function cost(offer, tokens)
  local sum = offer.fixed + offer.whole * tokens + math.ceil(offer.rest * tokens / 1000)
  return sum > MAX and 2 * MAX or sum
end

-- The most tokens that fit, or nil.
local function fit(offer, available)
  if available <= 0 then
    return nil
  end
  if cost(offer, offer.wanted) <= available then
    return offer.wanted
  end
  local rate = offer.whole * 1000 + offer.rest
  if rate == 0 then
    return nil
  end
  local room = math.max(0, available - offer.fixed)
  local tokens = math.min(offer.wanted, math.floor(room * 1000 / rate))
  for _ = 1, 4 do
    if tokens > 0 and cost(offer, tokens) > available then
      tokens = tokens - 1
    end
  end
  for _ = 1, 4 do
    if tokens < offer.wanted and cost(offer, tokens + 1) <= available then
      tokens = tokens + 1
    end
  end
  if tokens >= offer.minimum and cost(offer, tokens) <= available then
    return tokens
  end
  return nil
end

local function shown(a)
  return text(a.limit), text(a.posted), text(a.pending), text(a.win), a.pushed and '1' or '0'
end

-- How the account came to its period, and what a gateway that missed a change has charged here.
local function history(p, a, owner)
  local mine = a.gen > 2 and redis.call('HGET', window(p, a.id, present(a)), owner) or '0'
  return text(a.gen), text(a.was), text(a.gwin), mine
end

-- The decision that Weir's memory ledger makes, over the same figures. `offer_of` knows the offer of a
-- tier.
local function decide(accounts, offer_of, thresholds, tier)
  if tier < 0 then
    tier = math.max(0, #thresholds - 1)
    for i, threshold in ipairs(thresholds) do
      if reaches(left(accounts[1]), accounts[1].limit, threshold) then
        tier = i - 1
        break
      end
    end
  end
  local offer = offer_of(tier)
  local spent, tightest
  for i, a in ipairs(accounts) do
    if a.hard then
      if not spent or a.limit - a.posted < accounts[spent].limit - accounts[spent].posted then
        spent = i
      end
      if not tightest or left(a) < left(accounts[tightest]) then
        tightest = i
      end
    end
  end
  if not spent then
    local held = offer.unpriced and 0 or math.min(MAX, cost(offer, offer.wanted))
    return { tier = tier, tokens = offer.wanted, held = held, wanted = offer.wanted }
  end
  if offer.unpriced then
    return nil, { 'unpriced', text(tier) }
  end
  local posted = accounts[spent].limit - accounts[spent].posted
  if posted <= 0 then
    return nil, { 'exhausted', text(spent - 1), text(tier), shown(accounts[spent]) }
  end
  if cost(offer, offer.wanted) <= 0 then
    return { tier = tier, tokens = offer.wanted, held = 0, wanted = offer.wanted }
  end
  local tokens = fit(offer, left(accounts[tightest]))
  if tokens then
    return { tier = tier, tokens = tokens, held = cost(offer, tokens), wanted = offer.wanted }
  end
  if not fit(offer, posted) then
    return nil, { 'exhausted', text(spent - 1), text(tier), shown(accounts[spent]) }
  end
  return nil, { 'inflight', text(tightest - 1), text(tier), shown(accounts[tightest]) }
end
