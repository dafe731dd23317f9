// Where threads of the emulator wait, for the block or for the lanes of their warp.

#include "machine.hpp"

namespace moegrad::emulated {

unsigned char* shared_memory() {
    auto at = reinterpret_cast<std::uintptr_t>(machine().shared.data());
    return reinterpret_cast<unsigned char*>((at + 127) / 128 * 128);
}

unsigned lane() {
    return machine().current % kLanes;
}

void wait_for_block(const Site& site) {
    Machine& m = machine();
    if (m.at_block > 0 && !same(site, m.block_site)) {
        fail(m, [&] {
            return Texts("the threads of a block at one barrier", text(site) + " and " + text(m.block_site));
        });
    }
    m.block_site = site;
    if (++m.at_block == m.live) return release_block(m);
    warp_of(m, m.current).at_block |= bit(m.current);
    pass_on(m, *m.threads[m.current].fiber);
}

int count_in_block(int mine, const Site& site) {
    Machine& m = machine();
    const unsigned turn = m.threads[m.current].count_turn ^= 1;
    m.counted[turn] += mine;
    wait_for_block(site);
    const int sum = m.counted[turn];
    wait_for_block(site);
    m.counted[turn] = 0;
    return sum;
}

const std::uint64_t* exchange(unsigned mask, std::uint64_t mine, unsigned& present, const Site& site) {
    Machine& m = machine();
    Thread& self = m.threads[m.current];
    Warp& warp = warp_of(m, m.current);
    if (mask != 0xffffffffu)
        fail(m, [&] {
            return Texts("all lanes: mask 0xffffffff", format("{} with mask {:#x}", text(site), mask));
        });
    if (warp.done != 0)
        fail(m, [&] { return Texts("all lanes of a warp at " + text(site), "a lane that has returned"); });
    if (warp.at_warp != 0 && !same(site, warp.site)) {
        fail(m, [&] {
            return Texts("the lanes of a warp at one place", text(site) + " and " + text(warp.site));
        });
    }
    warp.site = site;
    present = warp.all;
    std::uint64_t* const values = warp.value[self.turn ^= 1];
    values[m.current % kLanes] = mine;
    if ((warp.at_warp | bit(m.current)) == warp.all) {
        warp.ready |= warp.at_warp;
        warp.at_warp = 0;
    } else {
        warp.at_warp |= bit(m.current);
        pass_on(m, *self.fiber);
    }
    return values;
}

}  // namespace moegrad::emulated
