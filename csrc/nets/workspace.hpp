// What products of a net need besides the panels, kept from one to the next; a pool, as several may run at one time.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "nets/panels.hpp"

namespace nnqft {

template <class T>
struct NetWorkspace {
    std::vector<std::unique_ptr<Passes<T>>> passes;  // one per worker
    std::vector<std::vector<T>> ends;                // per worker: what goes into a chain of layers, what comes out
    std::vector<Weights<T>> directions;              // one per vector
    std::vector<RSums<T>> found;                     // of backward passes: per vector, panel and layer
    Array<T> kept;                                   // and what it points to
    Array<T> sums;                                   // over slots of panels
    Array<T> apart, dots;                            // of a folded layer: Q where Hv has no room for it, and the sums of unfold() by slices
    Passes<T>& of(const Network& net, unsigned worker) {
        if (!passes[worker]) passes[worker] = std::make_unique<Passes<T>>(net);
        return *passes[worker];
    }
};

template <class T>
class NetWorkspaces {
public:
    // For passes of `vectors` that are summed over samples.
    std::unique_ptr<NetWorkspace<T>> borrow(const Network& net, const Cut& cut, unsigned threads, std::int64_t directions,
                                            std::int64_t vectors) const {
        std::unique_ptr<NetWorkspace<T>> space;
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            if (!idle_.empty()) {
                space = std::move(idle_.back());
                idle_.pop_back();
            }
        }
        if (!space) space = std::make_unique<NetWorkspace<T>>();
        if (space->passes.size() < threads) space->passes.resize(threads), space->ends.resize(threads);
        if (space->directions.size() < static_cast<std::size_t>(directions)) space->directions.resize(static_cast<std::size_t>(directions));
        const auto n_found = static_cast<std::size_t>(vectors * cut.panels * net.depth());
        if (space->found.size() < n_found) space->found.resize(n_found);
        room(space->kept, static_cast<std::size_t>(vectors * cut.panels * net.r_rows() * cut.ld));
        return space;
    }
    void give_back(std::unique_ptr<NetWorkspace<T>> space) const {
        const std::lock_guard<std::mutex> lock(mutex_);
        idle_.push_back(std::move(space));
    }

private:
    mutable std::mutex mutex_;
    mutable std::vector<std::unique_ptr<NetWorkspace<T>>> idle_;
};

}  // namespace nnqft
