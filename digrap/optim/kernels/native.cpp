// One step of an update rule for all tensors of a bucket, on a CPU. Called by native.py, which describes the arguments.
//
// A tensor takes two phases, cut into blocks. First phase: DiGraP and MARS-SP reduce, the other rules update. Second
// phase: DiGraP and MARS-SP update, SPD and FTP shrink where they must, L2-SP has none. Between the phases stand the
// numbers of the tensor (omega, gamma, …), computed once by the thread that ends its first phase.
//
// All blocks of a step lie in one queue, in one parallel region: waiting at a barrier costs a scheduler's slice wherever
// another process holds a core. Second-phase blocks follow in reverse order, so that what was read last is still cached,
// and a few blocks of the next tensors stand before them, so that nobody waits for the last block of a first phase.
//
// Sums are taken over at most CHUNK elements in the parameters' arithmetic, then in double, in an order that depends on
// the shapes alone: results do not depend on the number of threads.
#include <atomic>
#include <cmath>
#include <cstdint>
#include <limits>
#include <sched.h>
#include <vector>

#include "rules.h"

namespace {

// Phases, blocks and partial sums of one tensor.
struct Plan {
    int64_t blocks = 0, first = 0;  // number of blocks; index of the first one among all blocks
    int64_t slabs = 0, slab = 0;    // rows that lie together, and their elements
    int64_t per_block = 0;          // slabs of a block; 0: a slab is cut into `pieces`
    int64_t pieces = 1, piece = 0;
    std::atomic<int64_t> done{0};
    std::atomic<bool> ready{false};
};

struct Item {
    int32_t tensor, phase;
    int64_t block;
};

void cut(Plan& plan, const Tensor& tensor, int64_t block) {
    plan.slab = tensor.red * tensor.inner;
    plan.slabs = tensor.out;
    if (plan.slab <= block || tensor.inner > 1) {
        plan.per_block = std::max<int64_t>(1, block / plan.slab);
        plan.blocks = (plan.slabs + plan.per_block - 1) / plan.per_block;
    } else {
        plan.piece = block;
        plan.pieces = (plan.slab + block - 1) / block;
        plan.blocks = plan.slabs * plan.pieces;
    }
}

// The elements [begin, end) of a block.
Range range(const Plan& plan, int64_t block) {
    if (plan.per_block) {
        int64_t begin = block * plan.per_block, end = std::min(plan.slabs, begin + plan.per_block);
        return {begin * plan.slab, end * plan.slab, begin, plan.slab, false};
    }
    int64_t row = block / plan.pieces, offset = block % plan.pieces * plan.piece;
    int64_t end = std::min(plan.slab, offset + plan.piece);
    return {row * plan.slab + offset, row * plan.slab + end, row, end - offset, true};
}

// Items in the order in which threads take them.
std::vector<Item> queue(const std::vector<Plan>& plans, bool second, int64_t ahead) {
    std::vector<Item> items;
    int64_t count = 0;
    size_t behind = 0;  // first tensor whose second phase is not in the queue
    std::vector<int64_t> ends;
    auto release = [&](int64_t limit) {
        for (; second && behind < ends.size() && ends[behind] <= limit; behind++)
            for (int64_t block = plans[behind].blocks - 1; block >= 0; block--)
                items.push_back({int32_t(behind), 2, block});
    };
    for (size_t i = 0; i < plans.size(); i++) {
        for (int64_t block = 0; block < plans[i].blocks; block++, count++) {
            items.push_back({int32_t(i), 1, block});
            release(count - ahead);
        }
        ends.push_back(count);
    }
    release(std::numeric_limits<int64_t>::max());
    return items;
}

void wait(const std::atomic<bool>& ready) {
    for (int spins = 0; !ready.load(std::memory_order_acquire); spins++)
        if (spins > 200) sched_yield();
}

template <class Rule>
void step(const Options& options, const Tensor* tensors) {
    std::vector<Plan> plans(options.tensors);
    int64_t blocks = 0, rows = 0, total = 0;
    std::vector<int64_t> first_row(options.tensors);
    for (int64_t i = 0; i < options.tensors; i++) {
        cut(plans[i], tensors[i], options.block);
        plans[i].first = blocks;
        first_row[i] = rows;
        blocks += plans[i].blocks;
        rows += Rule::keeps_rows ? tensors[i].out : 0;
        total += plans[i].slabs * plans[i].slab;
    }
    std::vector<Sums> sums(blocks);
    std::vector<double> row_sums(rows);
    std::vector<Numbers> numbers(options.tensors);
    const int threads = total > options.block ? options.threads : 1;
    const auto items = queue(plans, Rule::two_phases, threads);
    std::atomic<size_t> next{0};

    auto work = [&] {
        for (size_t at; (at = next.fetch_add(1, std::memory_order_relaxed)) < items.size();) {
            const Item& item = items[at];
            Plan& plan = plans[item.tensor];
            const Tensor& tensor = tensors[item.tensor];
            const Range where = range(plan, item.block);
            double* own_rows = row_sums.data() + first_row[item.tensor];
            if (item.phase == 1) {
                sums[plan.first + item.block] = Rule::first(options, tensor, where, own_rows);
                if (plan.done.fetch_add(1, std::memory_order_acq_rel) + 1 == plan.blocks) {
                    Pieces all{sums.data() + plan.first, plan.blocks, plan.per_block ? 0 : plan.pieces};
                    numbers[item.tensor] = Rule::between(options, tensor, all, own_rows);
                    plan.ready.store(true, std::memory_order_release);
                }
            } else {
                wait(plan.ready);
                Rule::second(options, tensor, where, numbers[item.tensor], own_rows);
            }
        }
    };
#pragma omp parallel num_threads(threads) if (threads > 1)
    work();
    for (int64_t i = 0; i < options.tensors; i++) *tensors[i].step = float(options.step);
}

}  // namespace

// Returns 0, or 1 for a rule that is not here. SCALAR is the dtype that the library is built for.
extern "C" int digrap_step(const Options* options, const Tensor* tensors) {
    switch (options->rule) {
        case 0: step<DiGraP<SCALAR>>(*options, tensors); return 0;
        case 1: step<FTP<SCALAR>>(*options, tensors); return 0;
        case 2: step<L2SP<SCALAR>>(*options, tensors); return 0;
        case 3: step<MARSSP<SCALAR>>(*options, tensors); return 0;
        case 4: step<SPD<SCALAR>>(*options, tensors); return 0;
    }
    return 1;
}
