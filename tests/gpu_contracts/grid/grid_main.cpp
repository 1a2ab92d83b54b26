// Runs a kernel on a case: a file of buffers and arguments (grid_host.py writes it), under one schedule or many seeds.
//
//   program CASE OUT CONCURRENT FIRST_SEED SEEDS [SCHEDULE]
//
// Writes the buffers that are not constant to OUT, as the first run left them; every other run must leave the same bytes.
// Says "fault", "seed" and "schedule" where a run fails, "yields" where none does; ends with 1 or 0.
#include "grid_machine.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace {

struct Reader {
    std::string bytes;
    std::size_t at = 0;
    template <typename T> T number()
    {
        T value;
        memcpy(&value, bytes.data() + at, sizeof value);
        at += sizeof value;
        return value;
    }
    std::string text()
    {
        const std::size_t count = number<std::uint64_t>();
        at += count;
        return bytes.substr(at - count, count);
    }
};

struct Buffer { grid::Region region; std::string content; };

} // namespace

int main(int count, char **words)
{
    if (count < 6)
        return 2;
    std::ifstream in(words[1], std::ios::binary);
    std::stringstream whole;
    whole << in.rdbuf();
    Reader read{whole.str()};
    grid::Launch launch{};
    launch.kernel = grid::find(read.text());
    launch.blocks = read.number<std::uint32_t>(), launch.threads = read.number<std::uint32_t>();
    launch.dynamic_bytes = read.number<std::uint32_t>();
    std::vector<Buffer> buffers(read.number<std::uint32_t>());
    for (Buffer &one : buffers) {
        one.region.name = read.text();
        one.region.kind = grid::Kind(read.number<std::uint32_t>());
        one.content = read.text();
        one.region.bytes = one.content.size();
        one.region.data = static_cast<char *>(aligned_alloc(64, (one.content.size() + 64) / 64 * 64 + 64)); // a gap behind
        grid::check::buffers.push_back(one.region);
    }
    std::vector<std::string> arguments(read.number<std::uint32_t>());
    std::vector<void *> pointers;
    for (std::string &one : arguments) {
        one = read.text();
        for (std::uint32_t n = read.number<std::uint32_t>(); n > 0; --n) {
            const std::uint32_t offset = read.number<std::uint32_t>();
            const char *const target = buffers[read.number<std::uint32_t>()].region.data;
            memcpy(&one[offset], &target, sizeof target);
        }
        pointers.push_back(&one[0]);
    }
    if (!launch.kernel)
        return puts("fault no such kernel"), 2;
    launch.arguments = pointers.data();
    launch.concurrent = atoi(words[3]) != 0;
    launch.schedule = count > 6 ? words[6] : "";
    const std::uint64_t first = strtoull(words[4], nullptr, 10), last = first + strtoull(words[5], nullptr, 10);
    std::string result;
    for (std::uint64_t seed = first; seed < last; ++seed) {
        for (Buffer &one : buffers)
            memcpy(one.region.data, one.content.data(), one.content.size());
        launch.seed = seed;
        grid::Outcome outcome = grid::run(launch);
        launch.yields = outcome.yields ? outcome.yields : launch.yields;
        std::string left;
        std::size_t begins = 0;
        for (const Buffer &one : buffers) {
            if (one.region.kind == grid::CONSTANT)
                continue;
            left.append(one.region.data, one.region.bytes);
            if (seed != first && outcome.fault.empty())
                for (std::size_t i = begins; i < left.size(); ++i)
                    if (left[i] != result[i]) {
                        outcome.fault = "differs: " + one.region.name + "[" + std::to_string((i - begins) / 4) + "] depends on the schedule";
                        break;
                    }
            begins = left.size();
        }
        if (!outcome.fault.empty()) {
            printf("fault %s\nseed %llu\nschedule %s\n", outcome.fault.c_str(), (unsigned long long)seed, outcome.schedule.c_str());
            return 1;
        }
        if (seed == first) {
            result = left;
            std::ofstream(words[2], std::ios::binary) << result;
        }
    }
    printf("yields %llu\n", (unsigned long long)launch.yields);
    return 0;
}
