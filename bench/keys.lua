-- wrk: one request for a key of KEYS, taken at random or, with ORDER=each, one after another. All are formatted beforehand, and
-- always MANY, each with a number of its own: so the client looks at as many texts when the keys are few, and costs the same.
local requests, next_one, each = {}, 0, os.getenv("ORDER") == "each"

function init(args)
   local keys = {}
   for key in io.lines(os.getenv("KEYS")) do
      keys[#keys + 1] = key
   end
   for i = 1, tonumber(os.getenv("MANY")) do
      local headers = { ["Authorization"] = "Bearer " .. keys[(i - 1) % #keys + 1], ["X-Number"] = ("%08d"):format(i) }
      requests[i] = wrk.format("GET", nil, headers)
   end
   math.randomseed(20261121)
   collectgarbage("collect")
   collectgarbage("stop") -- to look at 100,000 texts again and again is the client's work, and not what is measured
end

function request()
   if each then
      next_one = next_one % #requests + 1
      return requests[next_one]
   end
   return requests[math.random(#requests)]
end
