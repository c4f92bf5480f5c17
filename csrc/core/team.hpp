// Threads that live as long as a computation of many short parallel steps: run_blocks() without the price of starting
// threads each time. The calling thread works too, and looks after signals between its blocks.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "core/parallel.hpp"

namespace nnqft {

class Team {
public:
    // The caller and up to threads - 1 helpers, fewer if they cannot be started. poll() (may be empty) is called from the
    // calling thread, at most every 50 ms, and throws to end the computation (an error from Python, say).
    explicit Team(unsigned threads, std::function<void()> poll = {});
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    unsigned threads() const noexcept;

    // Calls work(block, worker) once for each block of [0, blocks); worker < threads() is unique among the calls that run
    // at one time. Returns when all are done. A throw from poll() or work() leaves from here, when no worker is busy;
    // StateError if the process is ending. Blocks should last less than 0.1 s. Not reentrant.
    using Work = std::function<void(std::int64_t block, unsigned worker)>;
    void run(std::int64_t blocks, const Work& work);

    // Long work on the calling thread alone looks here now and then; throws as run() does.
    void look();

private:
    struct Shared;
    std::unique_ptr<Shared> shared_;
};

}  // namespace nnqft
