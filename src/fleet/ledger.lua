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

local function reader(args)
  local at = 0
  return {
    at = function()
      return at
    end,
    text = function()
      at = at + 1
      return args[at]
    end,
    number = function()
      at = at + 1
      return tonumber(args[at])
    end,
  }
end

local function spec_of(r)
  return {
    id = r.text(), tag = r.text(), win = r.number(), limit = r.number(),
    hard = r.text() == '1', opening = r.number(),
  }
end

-- A hold was refused for what is held by others: leases of the account give way for a while.
local function press(p, id)
  if redis.call('EXISTS', p .. 'l:' .. id) == 1 then
    redis.call('SET', p .. 'short:' .. id, '1', 'PX', SHORT)
  end
end

-- epoch seen gateway id tier, thresholds, accounts, offers, as counted lists.
local function reserve(keys, args)
  local p, r = prefix(keys), reader(args)
  local epoch, seen, owner, id, tier = r.text(), r.text(), r.text(), r.text(), r.number()
  local thresholds, accounts = {}, {}
  for i = 1, r.number() do
    thresholds[i] = r.number()
  end
  local state = standing(p, epoch, seen)
  if state ~= 'ok' then
    return { state }
  end
  -- A call may arrive late, after the gateway has told of its holds.
  if redis.call('ZSCORE', p .. 'done', id) or redis.call('HEXISTS', p .. 'h:' .. owner, id) == 1 then
    return { 'ended' }
  end
  local places = {}
  for i = 1, r.number() do
    local spec = spec_of(r)
    -- An account named twice is held once.
    local a = places[spec.id] or bring(p, spec)
    if not a then
      return { 'lost' }
    end
    places[spec.id] = a
    a.hard = a.hard or spec.hard
    accounts[i] = a
  end
  local offers, first = r.number(), r.at()
  local granted, denied = decide(accounts, function(of)
    local at = first + 6 * math.min(of, offers - 1)
    return {
      fixed = tonumber(args[at + 1]), whole = tonumber(args[at + 2]), rest = tonumber(args[at + 3]),
      wanted = tonumber(args[at + 4]), minimum = tonumber(args[at + 5]), unpriced = args[at + 6] == '1',
    }
  end, thresholds, tier)
  if not granted then
    for _, a in pairs(places) do
      store(p, a)
    end
    if denied[1] == 'inflight' then
      for _, a in ipairs(accounts) do
        if a.hard then
          press(p, a.id)
        end
      end
    end
    return denied
  end
  local packed, reply = { text(granted.held) }, { 'granted' }
  for _, a in ipairs(accounts) do
    if places[a.id] then
      places[a.id] = nil
      a.pending, a.held = a.pending + granted.held, a.held + granted.held
      if a.dirty then
        store(p, a)
      else
        redis.call('HSET', p .. 'a:' .. a.id, 'pending', text(a.pending), 'held', text(a.held))
      end
      packed[#packed + 1] = a.id .. PART .. present(a) .. PART .. text(a.gen)
    end
  end
  redis.call('HSET', p .. 'h:' .. owner, id, table.concat(packed, SEPARATOR))
  reply[2], reply[3], reply[4] = text(changed(p)), text(granted.tier), text(granted.tokens)
  reply[5] = text(granted.held)
  for _, a in ipairs(accounts) do
    for _, figure in ipairs({ shown(a) }) do
      reply[#reply + 1] = figure
    end
    for _, figure in ipairs({ history(p, a, owner) }) do
      reply[#reply + 1] = figure
    end
  end
  return reply
end

-- Whether what was held in `hold` counts in the account's present window.
local function counts(a, hold)
  if hold.gen == a.gen then
    return hold.label == present(a)
  end
  return a.win == a.gwin
end

local function unpacked(packed)
  local parts = split(packed, SEPARATOR)
  local hold = { amount = tonumber(parts[1]), accounts = {} }
  for i = 2, #parts do
    local account = split(parts[i], PART)
    hold.accounts[i - 1] = {
      id = account[1], label = account[2], gen = tonumber(account[3]),
    }
  end
  return hold
end

local function adjust(a, amount)
  a.posted = clamped(a.posted + amount)
end

-- Takes a hold away and says which accounts it counted in.
local function release(p, owner, id)
  local packed = redis.call('HGET', p .. 'h:' .. owner, id)
  if not packed then
    return nil
  end
  redis.call('HDEL', p .. 'h:' .. owner, id)
  local hold = unpacked(packed)
  for _, on in ipairs(hold.accounts) do
    local a = load(p, on.id)
    if a then
      on.account, on.counts, on.moved = a, counts(a, on), on.gen ~= a.gen
      a.held = math.max(0, a.held - hold.amount)
      if on.counts then
        a.pending = math.max(0, a.pending - hold.amount)
      end
      redis.call('HSET', p .. 'a:' .. a.id, 'pending', text(a.pending), 'held', text(a.held))
    end
  end
  return hold
end

-- Raises the total that `source` has charged in a window; how much higher it is now.
local function raise(p, source, id, label, total, kept)
  -- One key a user and a day: they are looked at for a week, and there may be many.
  local time = string.sub(id, 1, 4) == 'day:' and 10 * 86400 or MONTH
  local key = window(p, id, label)
  local known = tonumber(redis.call('HGET', key, source) or '0')
  if total <= known then
    return 0
  end
  redis.call('HSET', key, source, text(total))
  if known == 0 and not kept then
    redis.call('EXPIRE', key, time)
  end
  return total - known
end

-- The same, and what is posted with it. A hold that was `moved` into the present window by a change of
-- the period counts there with its `cost`, or with what is new of the total where it is not known. The
-- totals of the window that ended so went along and grow on: for them the total says it all.
local function charge(p, source, id, label, total, moved, cost, a)
  a = a or load(p, id)
  local kept = a and a.tag == 'none'
  local more = raise(p, source, id, label, total, kept)
  if not a then
    return
  end
  if label ~= present(a) then
    if not moved then
      return
    end
    if label == label_of(a.gen - 1, a.was) then
      more = raise(p, source, id, present(a), total, kept)
    else
      more = cost or more
      a.base = a.base + more
      redis.call('HSET', p .. 'a:' .. id, 'base', text(a.base))
    end
  end
  if more > 0 then
    adjust(a, string.sub(source, 1, 1) == '-' and -more or more)
    redis.call('HSET', p .. 'a:' .. id, 'posted', text(a.posted))
  end
end

local function add(p, source, on, amount)
  local known = tonumber(redis.call('HGET', window(p, on.id, on.label), source) or '0')
  charge(p, source, on.id, on.label, known + amount, on.counts and on.moved, amount)
end

-- Takes back what was charged for a hold because its gateway was gone: it says itself what it cost.
local function correct(p, owner, id)
  local packed = redis.call('HGET', p .. 'x:' .. owner, id)
  if not packed then
    return nil
  end
  redis.call('HDEL', p .. 'x:' .. owner, id)
  local charged = unpacked(packed)
  for _, on in ipairs(charged.accounts) do
    add(p, '-lost:' .. owner, on, charged.amount)
    note(p, on.id, changed(p))
  end
  return true
end

-- Adds a user's day to a reply, for the keys of the AI Firewall: account, start of the day, amount. The
-- budget of a user says the same where it has always been one for days.
local function daily(p, reply, account)
  local day = string.sub(account, 1, 4) == 'day:'
  local a = (day or string.sub(account, 1, 5) == 'user:') and load(p, account)
  if a and a.tag == DAY and (day or a.gen == 1) then
    reply[#reply + 1] = account
    reply[#reply + 1] = text(a.win)
    reply[#reply + 1] = text(clamped(charged(p, account, present(a))))
  end
end

-- epoch seen gateway, then the ends: gateway that held, id, cost, how many charges, and each as
-- account label total.
local function settle(keys, args)
  local p, r = prefix(keys), reader(args)
  local epoch, seen, source = r.text(), r.text(), r.text()
  local state = standing(p, epoch, seen)
  if state == 'lost' then
    return { state }
  end
  local touched = {}
  for _ = 1, r.number() do
    local owner, id = r.text(), r.text()
    local hold = release(p, owner, id)
    if not hold and not correct(p, owner, id) then
      redis.call('ZADD', p .. 'done', millis(), id)
    end
    local held = {}
    for _, on in ipairs(hold and hold.accounts or {}) do
      held[on.id] = on
    end
    local cost = r.number()
    for _ = 1, r.number() do
      local account, label, total = r.text(), r.text(), r.number()
      local on = held[account] or {}
      charge(p, source, account, label, total, on.counts and on.moved, cost, on.account)
      touched[account] = true
    end
  end
  local reply = { state, '' }
  for account in pairs(touched) do
    -- Each has a count of its own: news are told in pages, which end between two counts.
    note(p, account, changed(p))
    daily(p, reply, account)
  end
  reply[2] = text(changed(p))
  return reply
end

-- A key of the AI Firewall: what a user has spent in a day, in dollars. It never goes back.
local function day(keys, args)
  local known = tonumber(redis.call('GET', keys[1]) or '')
  if not known or known < tonumber(args[1]) then
    redis.call('SET', keys[1], args[1])
  end
  redis.call('EXPIRE', keys[1], 172800)
  return { 'ok' }
end

-- epoch seen gateway now total spent, account. Amounts may be empty.
local function push(keys, args)
  local p, r = prefix(keys), reader(args)
  local epoch, seen, owner, now = r.text(), r.text(), r.text(), r.number()
  local total, spent = r.number(), r.number()
  local state = standing(p, epoch, seen)
  if state ~= 'ok' then
    return { state }
  end
  local a = bring(p, spec_of(r))
  if not a then
    return { 'lost' }
  end
  local before, policy = a.posted, tonumber(args[10])
  if total then
    a.pt, a.pp, a.pv = total, policy, math.max(a.pv + 1, now)
    a.limit, a.pushed = total, true
  end
  if spent then
    a.base, a.bv = a.base + spent - a.posted, math.max(a.bv + 1, now)
    a.posted = spent
  end
  a.dirty = true
  store(p, a)
  local limit, posted, pending, win, pushed = shown(a)
  local gen, was, gwin, mine = history(p, a, owner)
  return {
    'ok', text(before), text(a.base), text(a.bv), text(a.pv), limit, posted, pending, win, pushed,
    gen, was, gwin, mine,
  }
end

-- epoch seen now, account: the end of a push whose policy limit is another one by now.
local function unpush(keys, args)
  local p, r = prefix(keys), reader(args)
  local epoch, seen, now = r.text(), r.text(), r.number()
  local state = standing(p, epoch, seen)
  if state ~= 'ok' then
    return { state }
  end
  local spec = spec_of(r)
  local a = load(p, spec.id)
  if a and a.pt and a.pp ~= spec.limit then
    a.pt, a.pp, a.pv, a.dirty = nil, nil, math.max(a.pv + 1, now), true
    store(p, a)
  end
  return { 'ok' }
end

-- epoch seen, accounts: what each would be now. Changes nothing.
local function balance(keys, args)
  local p, r = prefix(keys), reader(args)
  local state = standing(p, r.text(), r.text())
  if state ~= 'ok' and state ~= 'recovering' then
    return { state }
  end
  local reply = { state }
  for _ = 1, r.number() do
    local a = bring(p, spec_of(r), true)
    if not a then
      return { 'lost' }
    end
    for _, figure in ipairs({ shown(a) }) do
      reply[#reply + 1] = figure
    end
  end
  return reply
end

-- The number of an epoch, by which one of before is known as such.
local function number(epoch)
  return tonumber(string.match(epoch or '', '^%d+')) or 0
end

-- Grants go on once everybody has told what is known.
local function try_open(p, now)
  local from = tonumber(redis.call('HGET', p .. 'state', 'from') or '0')
  if now >= from and redis.call('SCARD', p .. 'waiting') == 0 then
    redis.call('HSET', p .. 'state', 'phase', 'open')
    return true
  end
end

-- known name rally gateways: a new epoch, unless one after the known one has begun already; then it waits
-- for these gateways, too. It is open after `rally` at the earliest. The epoch, and whether it is the new one.
local function begin(keys, args)
  local p = prefix(keys)
  local known, state = args[1], redis.call('HMGET', p .. 'state', 'epoch', 'run', 'phase')
  local at = number(state[1])
  if state[1] and state[2] == run_id() and at > number(known) then
    for i = 4, state[3] == 'recovering' and #args or 0 do
      if not redis.call('ZSCORE', p .. 'live', args[i]) then
        redis.call('SADD', p .. 'waiting', args[i])
      end
    end
    return { state[1], '0' }
  end
  local new = text(math.max(at, number(known)) + 1) .. '-' .. args[2]
  local now = millis()
  redis.call('HSET', p .. 'state', 'epoch', new, 'run', run_id(), 'phase', 'recovering',
    'since', text(now), 'from', text(now + tonumber(args[3])))
  changed(p)
  redis.call('DEL', p .. 'waiting')
  for i = 4, #args do
    redis.call('SADD', p .. 'waiting', args[i])
  end
  for _, gateway in ipairs(redis.call('ZRANGE', p .. 'live', 0, -1)) do
    redis.call('SADD', p .. 'waiting', gateway)
  end
  return { new, '1' }
end

-- Takes back everything that was charged in a window because a gateway was gone.
local function unlose(p, owner, id, label, moved)
  local lost = redis.call('HGET', window(p, id, label), 'lost:' .. owner)
  if lost then
    charge(p, '-lost:' .. owner, id, label, tonumber(lost), moved, 0)
  end
end

-- Takes back all of it: the gateway says itself what it charged and what it holds.
local function found(p, owner)
  for _, packed in ipairs(redis.call('HVALS', p .. 'x:' .. owner)) do
    for _, on in ipairs(unpacked(packed).accounts) do
      local a = load(p, on.id)
      unlose(p, owner, on.id, on.label, a and on.gen ~= a.gen and counts(a, on))
      note(p, on.id, changed(p))
    end
  end
  redis.call('DEL', p .. 'x:' .. owner)
end

-- What the open holds of all gateways come to on some accounts, which are given by id.
local function holding(p, accounts, gateways)
  local owners, sums = {}, {}
  for id in pairs(accounts) do
    sums[id] = { pending = 0, held = 0 }
  end
  for _, list in ipairs({ redis.call('ZRANGE', p .. 'live', 0, -1), redis.call('HKEYS', p .. 'nonce'),
    redis.call('SMEMBERS', p .. 'waiting'), gateways }) do
    for _, gateway in ipairs(list) do
      owners[gateway] = true
    end
  end
  for gateway in pairs(owners) do
    for _, packed in ipairs(redis.call('HVALS', p .. 'h:' .. gateway)) do
      local hold = unpacked(packed)
      for _, on in ipairs(hold.accounts) do
        local a, sum = accounts[on.id], sums[on.id]
        if a then
          sum.held = sum.held + hold.amount
          sum.pending = sum.pending + (counts(a, on) and hold.amount or 0)
        end
      end
    end
  end
  return sums
end

-- One account as a gateway knows it: registers go to the later version, totals to the higher one.
local function merge(p, share, teller)
  local win, gen = tonumber(share.win), tonumber(share.gen)
  local a = load(p, share.account)
  local new = not a
  if new then
    a = fresh(share.account, share.tag, win)
    a.gen = gen
    if redis.call('ZSCORE', p .. 'changed', a.id) then
      -- Whoever took the account away may have left its holds.
      local sum = holding(p, { [a.id] = a }, {})[a.id]
      a.pending, a.held = sum.pending, sum.held
      -- Others know more of it, and everybody has to tell.
      redis.call('HDEL', p .. 'state', 'epoch')
    end
  elseif gen > a.gen then
    move(p, a, share.tag, win, gen)
  elseif gen == a.gen and win > a.win then
    roll(p, a, win)
  end
  if share.pv and tonumber(share.pv) > a.pv then
    a.pv, a.pt, a.pp = tonumber(share.pv), tonumber(share.pt or ''), tonumber(share.pp or '')
  end
  if a.gen == gen and a.win == win then
    local bv, base = tonumber(share.bv), tonumber(share.base)
    -- Without a version it is opening spend, which an account that is known has had already.
    if bv > a.bv or (new and bv == 0) then
      a.base, a.bv = base, bv
    end
  end
  save(p, a)
  for source, total in pairs(share.charged) do
    charge(p, source, a.id, label_of(gen, win), tonumber(total), a.gen ~= gen, 0)
  end
  -- In one step, because a reset leaves a base below zero that charges have to come up to.
  a = load(p, a.id)
  redis.call('HSET', p .. 'a:' .. a.id, 'posted', text(clamped(a.base + charged(p, a.id, present(a)))))
  unlose(p, teller, a.id, label_of(gen, win), a.gen ~= gen)
  note(p, a.id, changed(p))
end

-- Holds that the gateway has open and Redis does not know, or of another amount. What others say of
-- them is said of old: it counts where nothing else is known.
local function restore(p, owner, id, hold, own)
  local known = redis.call('HGET', p .. 'h:' .. owner, id)
  if known and (not own or unpacked(known).amount == tonumber(hold.held)) then
    return
  end
  if not known and redis.call('ZSCORE', p .. 'done', id) then
    return
  end
  release(p, owner, id)
  local amount, packed = tonumber(hold.held), { hold.held }
  for _, on in ipairs(hold.accounts) do
    local a, win = load(p, on[1]), tonumber(on[2])
    if a then
      a.held = a.held + amount
      if win == a.win then
        a.pending = a.pending + amount
      end
      redis.call('HSET', p .. 'a:' .. a.id, 'pending', text(a.pending), 'held', text(a.held))
      packed[#packed + 1] = a.id .. PART .. label_of(a.gen, win) .. PART .. text(a.gen)
    end
  end
  redis.call('HSET', p .. 'h:' .. owner, id, table.concat(packed, SEPARATOR))
end

-- epoch gateway shares holds open done. Shares of accounts; holds by gateway, which may be unknown
-- here; by gateway, all that are open (others are over); `1` when that was all. Replies like `settle`.
local function assert_state(keys, args)
  local p = prefix(keys)
  local epoch, teller = args[1], args[2]
  local state = standing(p, epoch, 0)
  if state == 'lost' or state == 'changed' then
    return { state }
  end
  local reply = { 'ok', '' }
  for _, share in ipairs(cjson.decode(args[3])) do
    merge(p, share, teller)
    daily(p, reply, share.account)
  end
  for owner, open in pairs(cjson.decode(args[4])) do
    local own = owner == teller
    -- Of somebody who has told of them already nobody else has to.
    if own or redis.call('SISMEMBER', p .. 'waiting', owner) == 1 then
      for id, hold in pairs(open) do
        restore(p, owner, id, hold, own)
      end
      if not own then
        redis.call('ZADD', p .. 'live', 'NX', millis(), owner)
      end
    end
  end
  for owner, ids in pairs(cjson.decode(args[5])) do
    found(p, owner)
    local open = {}
    for _, id in ipairs(ids) do
      open[id] = true
    end
    for _, id in ipairs(redis.call('HKEYS', p .. 'h:' .. owner)) do
      if not open[id] then
        release(p, owner, id)
      end
    end
  end
  if args[6] == '1' then
    redis.call('SREM', p .. 'waiting', teller)
    redis.call('ZADD', p .. 'live', millis(), teller)
    try_open(p, millis())
  end
  reply[2] = text(changed(p))
  return reply
end

-- Charges what a gateway that is gone has left held.
local function expire(p, owner)
  local held = redis.call('HGETALL', p .. 'h:' .. owner)
  local amount = 0
  for i = 1, #held, 2 do
    local id = held[i]
    redis.call('HSET', p .. 'x:' .. owner, id, held[i + 1])
    local hold = release(p, owner, id)
    for _, on in ipairs(hold.accounts) do
      add(p, 'lost:' .. owner, on, hold.amount)
      note(p, on.id, changed(p))
    end
    amount = amount + hold.amount
  end
  redis.call('ZREM', p .. 'live', owner)
  redis.call('HDEL', p .. 'nonce', owner)
  redis.call('HDEL', p .. 'leases', owner)
  return #held / 2, amount
end

-- epoch seen gateway nonce since orphan_after recovery_wait: a sign of life, and what has changed.
-- `twin` when another process is alive as this gateway.
local function sync(keys, args)
  local p, r = prefix(keys), reader(args)
  local epoch, seen, owner, nonce = r.text(), r.text(), r.text(), r.text()
  local since, orphan_after, recovery_wait = r.number(), r.number(), r.number()
  local state, now = standing(p, epoch, seen), millis()
  if state == 'lost' or state == 'changed' then
    return { state, '{}' }
  end
  local other, heard = redis.call('HGET', p .. 'nonce', owner), redis.call('ZSCORE', p .. 'live', owner)
  local here = string.match(nonce, '^(.+)/')
  if other and other ~= nonce and not (here and here == string.match(other, '^(.+)/'))
    and heard and now - tonumber(heard) < ALIVE then
    return { 'twin', '{}' }
  end
  local reply = { gateways = {}, accounts = {}, missing = {} }
  if since == 0 then
    reply.policy = string.match(redis.call('INFO', 'memory'), 'maxmemory_policy:([%w-]+)')
  end
  redis.call('ZADD', p .. 'live', now, owner)
  redis.call('HSET', p .. 'nonce', owner, nonce)
  reply.orphans, reply.orphaned = '0', '0'
  for _, gone in ipairs(redis.call('ZRANGEBYSCORE', p .. 'live', '-inf', now - orphan_after)) do
    local count, amount = expire(p, gone)
    reply.orphans = text(tonumber(reply.orphans) + count)
    reply.orphaned = text(tonumber(reply.orphaned) + amount)
  end
  if state == 'recovering' then
    local begun = tonumber(redis.call('HGET', p .. 'state', 'since'))
    if now - begun > recovery_wait then
      reply.missing = redis.call('SMEMBERS', p .. 'waiting')
      redis.call('DEL', p .. 'waiting')
      redis.call('HSET', p .. 'state', 'phase', 'open')
      state = 'ok'
    elseif try_open(p, now) then
      state = 'ok'
    end
  end
  redis.call('ZREMRANGEBYSCORE', p .. 'done', '-inf', now - 3600000)
  reply.gateways = redis.call('ZRANGE', p .. 'live', 0, -1)
  -- Another loss must not make those be forgotten that are waited for.
  for _, gateway in ipairs(redis.call('SMEMBERS', p .. 'waiting')) do
    reply.gateways[#reply.gateways + 1] = gateway
  end
  local ids = redis.call('ZRANGEBYSCORE', p .. 'changed', '(' .. text(since), '+inf', 'WITHSCORES',
    'LIMIT', 0, 500)
  local last = since
  for i = 1, #ids, 2 do
    local a = load(p, ids[i])
    last = tonumber(ids[i + 1])
    if a then
      local share = {
        account = a.id, tag = a.tag, gen = text(a.gen), win = text(a.win), base = text(a.base), bv = text(a.bv),
        pv = text(a.pv), pt = a.pt and text(a.pt) or nil, pp = a.pp and text(a.pp) or nil,
        posted = text(a.posted), pending = text(a.pending), charged = {},
      }
      local entries = redis.call('HGETALL', window(p, a.id, present(a)))
      for j = 1, #entries, 2 do
        share.charged[entries[j]] = entries[j + 1]
      end
      reply.accounts[#reply.accounts + 1] = share
    end
  end
  reply.more = #ids == 1000
  reply.last = text(last)
  reply.ver = redis.call('HGET', p .. 'state', 'ver')
  return { state, cjson.encode(reply) }
end

-- gateway: it has settled everything and goes.
local function leave(keys, args)
  local p = prefix(keys)
  if redis.call('HLEN', p .. 'h:' .. args[1]) == 0 then
    redis.call('ZREM', p .. 'live', args[1])
    redis.call('HDEL', p .. 'nonce', args[1])
    redis.call('SREM', p .. 'waiting', args[1])
    redis.call('HDEL', p .. 'leases', args[1])
  end
  return { 'ok' }
end

-- gateway: its open holds.
local function holds(keys, args)
  return redis.call('HKEYS', prefix(keys) .. 'h:' .. args[1])
end

-- The holds of a hash, by attempt: the amount and the accounts.
local function shown_holds(key)
  local entries, all = redis.call('HGETALL', key), {}
  for i = 1, #entries, 2 do
    local hold, names = unpacked(entries[i + 1]), {}
    for _, on in ipairs(hold.accounts) do
      names[#names + 1] = on.id
    end
    all[entries[i]] = { held = text(hold.amount), accounts = names }
  end
  return all
end

-- What is to know of one account: its state, what its holds come to, and who has charged what in
-- its window and in those that are asked for.
local function audited(p, a, sum, labels)
  local one = {
    account = a.id, tag = a.tag, label = present(a), win = text(a.win), base = text(a.base), posted = text(a.posted),
    pending = text(a.pending), held = text(a.held), open_pending = text(sum.pending),
    open_held = text(sum.held), charged = {},
  }
  labels[#labels + 1] = one.label
  for _, label in ipairs(labels) do
    local entries, totals = redis.call('HGETALL', window(p, a.id, label)), {}
    for i = 1, #entries, 2 do
      totals[entries[i]] = entries[i + 1]
    end
    one.charged[label] = totals
  end
  return one
end

-- For those who check the books. Without arguments: the state, and who has a part in it. With one:
-- `list`, gateways whose holds are listed, open ones and those charged as lost, and `accounts` with the
-- windows that are of interest besides the present one; each is shown as of one moment, with what its
-- holds come to, those of `gateways` included.
local function audit(keys, args)
  local p = prefix(keys)
  if not args[1] then
    local state = redis.call('HMGET', p .. 'state', 'epoch', 'run', 'phase')
    local reply = { phase = state[3] or nil, accounts = redis.call('ZRANGE', p .. 'changed', 0, -1),
      gateways = {} }
    reply.restarted = state[1] and state[2] ~= run_id() or false
    local live, now = redis.call('ZRANGE', p .. 'live', 0, -1, 'WITHSCORES'), millis()
    for i = 1, #live, 2 do
      reply.gateways[live[i]] = text(math.max(0, now - tonumber(live[i + 1])))
    end
    return { 'ok', cjson.encode(reply) }
  end
  local asked, reply = cjson.decode(args[1]), { holds = {}, lost = {}, accounts = {} }
  for _, gateway in ipairs(asked.list) do
    reply.holds[gateway] = shown_holds(p .. 'h:' .. gateway)
    reply.lost[gateway] = shown_holds(p .. 'x:' .. gateway)
  end
  local known = {}
  for _, pair in ipairs(asked.accounts) do
    known[pair[1]] = load(p, pair[1])
  end
  local sums = next(known) and holding(p, known, asked.gateways)
  for _, pair in ipairs(asked.accounts) do
    local a = known[pair[1]]
    if a then
      reply.accounts[#reply.accounts + 1] = audited(p, a, sums[a.id], pair[2])
    end
  end
  return { 'ok', cjson.encode(reply) }
end

redis.register_function('weir_reserve_1', reserve)
redis.register_function { function_name = 'weir_settle_1', callback = settle, flags = { 'allow-oom' } }
redis.register_function { function_name = 'weir_day_1', callback = day, flags = { 'allow-oom' } }
redis.register_function('weir_push_1', push)
redis.register_function('weir_unpush_1', unpush)
redis.register_function { function_name = 'weir_balance_1', callback = balance, flags = { 'no-writes' } }
redis.register_function('weir_begin_1', begin)
redis.register_function { function_name = 'weir_assert_1', callback = assert_state, flags = { 'allow-oom' } }
redis.register_function { function_name = 'weir_sync_1', callback = sync, flags = { 'allow-oom' } }
redis.register_function { function_name = 'weir_leave_1', callback = leave, flags = { 'allow-oom' } }
redis.register_function { function_name = 'weir_holds_1', callback = holds, flags = { 'no-writes' } }
redis.register_function { function_name = 'weir_audit_1', callback = audit, flags = { 'no-writes' } }
