// Which warp goes next, and where it is pre-empted: by a seed, or by a schedule that an earlier run wrote down.
//
// A schedule is a string: "a" or "d" (lanes of a warp in ascending or descending order), then each turn as the number
// of its warp over all blocks, with ":n" where the warp was pre-empted at the turn's n-th yield: "a 0 2:14 1 0".
#pragma once
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

namespace grid {

class Chooser {
    struct Turn { unsigned warp; std::uint64_t yields, cut; }; // cut: 0 where the warp went on until it had to wait
    std::uint64_t state, passed = 0, rate = 0;
    bool down = false, ordered, replaying, recording;
    std::vector<std::int64_t> priority; // odd seeds: the highest runs (probabilistic concurrency testing)
    std::vector<std::uint64_t> changes; // yields at which the running warp becomes the lowest
    std::vector<Turn> turns, given;
    std::int64_t lowest = -1;

    std::uint64_t random()
    {
        std::uint64_t z = state += 0x9e3779b97f4a7c15u; // splitmix64
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
    }

public:
    Chooser(std::uint64_t seed, std::uint64_t yields, const std::string &schedule, unsigned warps, bool recording)
        : state(seed), ordered(seed == 0), replaying(!schedule.empty()), recording(recording)
    {
        if (replaying) {
            std::istringstream words(schedule);
            std::string word;
            words >> word;
            down = word == "d";
            while (words >> word) {
                const std::size_t colon = word.find(':');
                given.push_back({unsigned(std::stoul(word)), 0, colon == word.npos ? 0 : std::stoull(word.substr(colon + 1))});
            }
        } else if (!ordered) {
            down = random() & 1;
            const std::uint64_t about = std::max<std::uint64_t>(yields, 2);
            if (seed & 1) {
                priority.resize(warps);
                std::iota(priority.begin(), priority.end(), 0);
                for (unsigned i = warps; i > 1; --i)
                    std::swap(priority[i - 1], priority[random() % i]);
                for (int k = 0; k < 3; ++k)
                    changes.push_back(random() % about);
            } else {
                rate = std::max<std::uint64_t>(2, about / (1 + random() % 32));
            }
        }
    }

    bool descending() const { return down; }

    // Return one of the warps that can go on, or -1 where a given schedule wants another.
    int next(const std::vector<unsigned> &able)
    {
        unsigned chosen = able.front();
        if (replaying) {
            if (turns.size() < given.size())
                chosen = given[turns.size()].warp;
            if (std::find(able.begin(), able.end(), chosen) == able.end())
                return -1;
        } else if (!priority.empty()) {
            for (unsigned warp : able)
                if (priority[warp] > priority[chosen])
                    chosen = warp;
        } else if (!ordered) {
            chosen = able[random() % able.size()];
        }
        if (!recording)
            turns.clear();
        turns.push_back({chosen, 0, 0});
        return int(chosen);
    }

    // Count a yield of the running warp and return whether it is pre-empted there.
    bool stops()
    {
        Turn &turn = turns.back();
        ++turn.yields, ++passed;
        bool cut = false;
        if (replaying)
            cut = turns.size() <= given.size() && given[turns.size() - 1].cut == turn.yields;
        else if (!priority.empty())
            cut = std::find(changes.begin(), changes.end(), passed) != changes.end();
        else if (!ordered)
            cut = random() % rate == 0;
        if (cut) {
            turn.cut = turn.yields;
            if (!priority.empty())
                priority[turn.warp] = lowest--;
        }
        return cut;
    }

    std::string schedule() const
    {
        std::string out = down ? "d" : "a";
        for (const Turn &turn : turns)
            out += " " + std::to_string(turn.warp) + (turn.cut ? ":" + std::to_string(turn.cut) : "");
        return out;
    }
};

} // namespace grid
