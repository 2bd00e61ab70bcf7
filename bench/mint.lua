-- wrk: makes API keys and writes their secrets to OUT, one a line, until there are MANY.
local out, made, many = nil, 0, tonumber(os.getenv("MANY"))

function init(args)
   out = io.open(os.getenv("OUT"), "w")
   wrk.method = "POST"
   wrk.headers["Content-Type"] = "application/json"
   wrk.headers["Authorization"] = "Bearer " .. os.getenv("METERPLEX_ADMIN_KEY")
   wrk.body = '{"name":"bench","scopes":["demo:read"]}'
end

function response(status, headers, body)
   local secret = status == 201 and body:match('"secret":"([^"]+)"')
   if secret and made < many then
      out:write(secret, "\n")
      made = made + 1
      if made == many then
         out:close()
      end
   end
end
