-- wrk: counts answers, and those that were let through (404: there is no such file).
local counting = {}

function setup(thread) counting[#counting + 1] = thread end
function init() answers, passed = 0, 0 end

function response(status)
   answers = answers + 1
   if status == 404 then passed = passed + 1 end
end

function done()
   local all, through = 0, 0
   for _, thread in ipairs(counting) do
      all, through = all + thread:get("answers"), through + thread:get("passed")
   end
   print("answers " .. all .. " " .. through)
end
