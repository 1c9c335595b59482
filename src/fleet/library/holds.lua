
-- Holds and charges: what a request asks for, what became of it, and what is set from outside.

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

redis.register_function('weir_reserve_1', reserve)
redis.register_function { function_name = 'weir_settle_1', callback = settle, flags = { 'allow-oom' } }
redis.register_function { function_name = 'weir_day_1', callback = day, flags = { 'allow-oom' } }
redis.register_function('weir_push_1', push)
redis.register_function('weir_unpush_1', unpush)
redis.register_function { function_name = 'weir_balance_1', callback = balance, flags = { 'no-writes' } }
