
-- The state as a whole: who is alive, what is put together again after a loss, and what it looks like.

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
local function merge(p, share)
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
  note(p, a.id, changed(p))
end

-- What was charged to an account because the teller was gone: it has said what it holds there instead.
local function unlose_share(p, share, teller)
  local a, gen = load(p, share.account), tonumber(share.gen)
  unlose(p, teller, share.account, label_of(gen, tonumber(share.win)), a and a.gen ~= gen)
  note(p, share.account, changed(p))
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

-- epoch gateway shares holds open part. Shares of accounts; holds by gateway, which may be unknown
-- here; by gateway, all that are open (others are over). The part is `back` once the teller's holds are known:
-- only then, lest their money look free, is what was charged for them as lost taken back from the accounts of
-- these shares; `done` when that was all. Replies like `settle`.
local function assert_state(keys, args)
  local p = prefix(keys)
  local epoch, teller = args[1], args[2]
  local state = standing(p, epoch, 0)
  if state == 'lost' or state == 'changed' then
    return { state }
  end
  local reply = { 'ok', '' }
  for _, share in ipairs(cjson.decode(args[3])) do
    if args[6] == 'back' then
      unlose_share(p, share, teller)
    else
      merge(p, share)
      daily(p, reply, share.account)
    end
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
  if args[6] == 'done' then
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

redis.register_function('weir_begin_1', begin)
redis.register_function { function_name = 'weir_assert_1', callback = assert_state, flags = { 'allow-oom' } }
redis.register_function { function_name = 'weir_sync_1', callback = sync, flags = { 'allow-oom' } }
redis.register_function { function_name = 'weir_leave_1', callback = leave, flags = { 'allow-oom' } }
redis.register_function { function_name = 'weir_holds_1', callback = holds, flags = { 'no-writes' } }
redis.register_function { function_name = 'weir_audit_1', callback = audit, flags = { 'no-writes' } }
