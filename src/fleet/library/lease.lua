
--[[
Leases: money that a gateway may grant by itself while nobody can be asked. A lease is a hold like any
other, of an attempt with the number 0, so that nobody else can have its money.

  leases           by gateway, its leases as the others tell of them after a loss
  l:<account>      by gateway, how much it has leased and until when that counts
  short:<account>  there for a while after a hold was refused that leases may have been in the way of
]]

-- What other gateways have leased.
local function leased(p, id, owner, now)
  local entries, sum = redis.call('HGETALL', p .. 'l:' .. id), 0
  for i = 1, #entries, 2 do
    local amount, till = string.match(entries[i + 1], '^(%d+):(%d+)$')
    if amount and entries[i] ~= owner and tonumber(till) > now then
      sum = sum + tonumber(amount)
    end
  end
  return sum
end

-- An account that is there and has this period. A lease makes no accounts and changes none.
local function leasable(p, places, spec, owner, now)
  if places[spec.id] == nil then
    local a = load(p, spec.id)
    places[spec.id] = a and a.tag == spec.tag and bring(p, spec) or false
    a = places[spec.id]
    if a then
      a.others, a.own = leased(p, a.id, owner, now), 0
      a.short = redis.call('EXISTS', p .. 'short:' .. a.id) == 1
    end
  end
  return places[spec.id]
end

-- The leases of a call, and their accounts.
local function leases_of(p, r, owner, now)
  local leases, places = {}, {}
  for i = 1, r.number() do
    local one = { id = r.text(), amount = r.number(), on = {}, hard = {} }
    local packed = redis.call('HGET', p .. 'h:' .. owner, one.id)
    local known, named = packed and unpacked(packed), {}
    one.mine = known and known.amount or 0
    one.fixed = not known and redis.call('ZSCORE', p .. 'done', one.id) and true or false
    for j = 1, r.number() do
      local spec = spec_of(r)
      local a = leasable(p, places, spec, owner, now)
      one.on[j], one.fixed = a, one.fixed or not a
      if a and spec.hard and not named[a.id] then
        named[a.id] = true
        one.hard[#one.hard + 1] = a
      end
    end
    -- What is held in another window stays as it is until it is given back.
    one.fixed = one.fixed or (known and #known.accounts ~= #one.hard) or false
    for j, a in ipairs(one.hard) do
      local on = known and known.accounts[j]
      one.fixed = one.fixed or (known and not (on and on.id == a.id and on.label == present(a))) or false
    end
    if known and not one.fixed then
      for _, a in ipairs(one.hard) do
        a.own = a.own + one.mine
      end
    end
    leases[i] = one
  end
  return leases, places
end

-- How much a lease may be: a share of what would be left without leases, and all of them no more than
-- half of that.
local function lease_target(one, share, most)
  local target = #one.hard > 0 and most or 0
  for _, a in ipairs(one.hard) do
    local all = a.others + a.own
    local free = math.max(0, left(a) + all)
    target = math.min(target, math.floor(free * share), math.floor(free / 2) - (all - one.mine),
      left(a) + one.mine)
    if a.short then
      target = 0
    end
  end
  return math.max(0, target)
end

-- What is leased by now, for the next who leases and for those who tell of it after a loss.
local function note_leases(p, owner, leases, places, till)
  local told = {}
  for _, one in ipairs(leases) do
    if one.mine > 0 and not one.fixed then
      local accounts = {}
      for j, a in ipairs(one.hard) do
        accounts[j] = { a.id, text(a.win) }
      end
      told[one.id] = { held = text(one.mine), accounts = accounts }
    end
  end
  if next(told) then
    redis.call('HSET', p .. 'leases', owner, cjson.encode(told))
  else
    redis.call('HDEL', p .. 'leases', owner)
  end
  for id, a in pairs(places) do
    if a and a.own > 0 then
      redis.call('HSET', p .. 'l:' .. id, owner, text(a.own) .. ':' .. text(till))
      redis.call('EXPIRE', p .. 'l:' .. id, 86400)
    else
      redis.call('HDEL', p .. 'l:' .. id, owner)
    end
  end
end

-- epoch seen gateway time share most, then all leases of the gateway, counted: id, amount, accounts. The
-- amount is what the gateway counts on: never is less held after the call than before, if it is not
-- less than that. Replies for each lease what is held, what it should come down to, and its accounts
-- as `reserve` does; at the end what others have leased.
local function lease(keys, args)
  local p, r = prefix(keys), reader(args)
  local epoch, seen, owner = r.text(), r.text(), r.text()
  local time, share, most = r.number(), r.number() / 1e9, r.number()
  local state = standing(p, epoch, seen)
  if state ~= 'ok' then
    return { state }
  end
  local now = millis()
  redis.call('ZADD', p .. 'live', now, owner)
  local leases, places = leases_of(p, r, owner, now)
  local reply, touched = { state, '' }, {}
  for _, one in ipairs(leases) do
    local target, held = 0, one.mine
    if not one.fixed then
      target = lease_target(one, share, most)
      held = math.max(target, math.min(one.amount, one.mine))
    end
    if held ~= one.mine then
      local packed = { text(held) }
      for _, a in ipairs(one.hard) do
        local more = held - one.mine
        a.pending, a.held, a.own = a.pending + more, a.held + more, a.own + more
        packed[#packed + 1] = a.id .. PART .. present(a) .. PART .. text(a.gen)
        touched[a.id] = a
      end
      one.mine = held
      redis.call('HSET', p .. 'h:' .. owner, one.id, table.concat(packed, SEPARATOR))
    end
    reply[#reply + 1] = text(held)
    reply[#reply + 1] = text(target)
    reply[#reply + 1] = one.fixed and '0' or '1'
    if not one.fixed then
      for _, a in ipairs(one.on) do
        for _, figure in ipairs({ shown(a) }) do
          reply[#reply + 1] = figure
        end
        for _, figure in ipairs({ history(p, a, owner) }) do
          reply[#reply + 1] = figure
        end
      end
    end
  end
  for _, a in pairs(places) do
    if a and a.dirty then
      store(p, a)
    elseif a and touched[a.id] then
      redis.call('HSET', p .. 'a:' .. a.id, 'pending', text(a.pending), 'held', text(a.held))
    end
  end
  note_leases(p, owner, leases, places, now + 2 * time)
  local others, entries = {}, redis.call('HGETALL', p .. 'leases')
  for i = 1, #entries, 2 do
    if entries[i] ~= owner then
      others[entries[i]] = cjson.decode(entries[i + 1])
    end
  end
  reply[2] = text(changed(p))
  reply[#reply + 1] = cjson.encode(others)
  return reply
end

redis.register_function('weir_lease_1', lease)
