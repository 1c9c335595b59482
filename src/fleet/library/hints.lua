
--[[
Endpoints of providers that a gateway has ejected. Nobody has to believe it.

  ejected          by gateway, names and until when, in milliseconds
]]

-- No ejection is longer than a minute.
local HEARSAY = 120

-- gateway, names of endpoints and for how many milliseconds each is ejected: all of them. Replies the same
-- of all others.
local function ejected(keys, args)
  local p, now, own = prefix(keys), millis(), {}
  local key = p .. 'ejected'
  for i = 2, #args - 1, 2 do
    own[#own + 1] = args[i] .. PART .. text(now + tonumber(args[i + 1]))
  end
  if #own > 0 then
    redis.call('HSET', key, args[1], table.concat(own, SEPARATOR))
    redis.call('EXPIRE', key, HEARSAY)
  else
    redis.call('HDEL', key, args[1])
  end
  local entries, reply = redis.call('HGETALL', key), {}
  for i = 1, #entries, 2 do
    for _, packed in ipairs(entries[i] ~= args[1] and split(entries[i + 1], SEPARATOR) or {}) do
      local one = split(packed, PART)
      local left = tonumber(one[2]) - now
      if left > 0 then
        reply[#reply + 1] = one[1]
        reply[#reply + 1] = text(left)
      end
    end
  end
  return reply
end

redis.register_function { function_name = 'weir_ejected_1', callback = ejected, flags = { 'allow-oom' } }
