// compare: intervals over items and seeds against other ways of computing them; runs that are resumed, on other thread
// counts and after a change; what a TOML file gets wrong, with its place.

#include "support/bits.hpp"
#include "train/compare_world.hpp"

#include <moegrad/compare_toml.hpp>

#include <moegrad/train/compare.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <sstream>

using namespace moegrad;
using test::TinyWorld;
using test::whole_file;

namespace {

namespace fs = std::filesystem;

struct Killed {};

/// Counts what is trained; stops a run in its middle, as a kill would.
struct Counter {
    std::vector<std::string>* trained;
    std::string kill_at = "";

    void operator()(CompareNews news, const std::string& label, const std::string& text) const {
        if (news == CompareNews::begin) trained->push_back(label);
        if (label == kill_at && text.starts_with("step 1")) throw Killed{};
    }
};

struct Compared {
    std::vector<std::string> trained;
    std::string table, csv, text;
};

Compared compare_in(const TinyWorld& world, const std::string& out, int threads, const std::string& recipe) {
    CompareSpec spec = parse_compare_toml(recipe, "arms.toml").tasks.front();
    spec.output = world.path(out);
    spec.threads = threads;
    Compared compared;
    const auto result = run_compare<float>(spec, Counter{&compared.trained});
    compared.table = compare_table(result);
    compared.csv = whole_file(spec.output + "/compare.csv");
    compared.text = compare_text(result);
    return compared;
}

std::string replaced_once(std::string text, const std::string& what, const std::string& by) {
    const std::size_t at = text.find(what);
    REQUIRE(at != text.npos);
    return text.replace(at, what.size(), by);
}

/// The error that a TOML text ends in.
std::string complaint(const std::string& toml) {
    try {
        for (const CompareSpec& task : parse_compare_toml(toml, "arms.toml").tasks) check_compare(task);
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("compare: the same to the digit with other threads, when resumed, and when nothing is left to do") {
    const TinyWorld world;
    const Compared want = compare_in(world, "one", 1, world.recipe());
    CHECK(want.trained.size() == 7);  // the base's questions, three arms with two seeds
    for (const char* name : {"plain", "nulls", "drop", "base"})
        CHECK(want.table.find(name) != std::string::npos);
    const Compared again = compare_in(world, "one", 1, world.recipe());
    CHECK(again.trained.empty());
    CHECK(again.csv == want.csv);
    CHECK(again.table + again.text == want.table + want.text);
    const Compared three = compare_in(world, "three", 3, world.recipe());
    CHECK(three.csv == want.csv);
    CHECK(three.table + three.text == want.table + want.text);
    for (const char* file : {"nulls-3/metrics.jsonl", "drop-0/eval/items.jsonl", "drop-3/eval/tokens.json",
                             "drop-0/adapter/adapter_model.safetensors"}) {
        CHECK(whole_file(world.path("three/") + file) == whole_file(world.path("one/") + file));
    }

    // Killed in the middle of the second arm, and once more in the third.
    CompareSpec spec = parse_compare_toml(world.recipe(), "arms.toml").tasks.front();
    spec.output = world.path("killed");
    spec.threads = 2;
    std::vector<std::string> trained;
    CHECK_THROWS_AS(run_compare<float>(spec, Counter{&trained, "nulls, seed 0"}), Killed);
    CHECK_THROWS_AS(run_compare<float>(spec, Counter{&trained, "drop, seed 3"}), Killed);
    CHECK_FALSE(fs::exists(world.path("killed/drop-3/run.json")));
    const Compared resumed = compare_in(world, "killed", 2, world.recipe());
    CHECK(resumed.trained == std::vector<std::string>{"drop, seed 3"});
    CHECK(resumed.csv == want.csv);
    CHECK(resumed.table + resumed.text == want.table + want.text);
}

TEST_CASE("compare: what changed is run again, what did not is not; the control takes the measured load") {
    const TinyWorld world;
    const Compared first = compare_in(world, "out", 1, world.recipe());
    const std::string slower = replaced_once(world.recipe(), "router.null_experts = 4\n",
                                             "router.null_experts = 4\noptim.lr = 0.5\n");
    const Compared second = compare_in(world, "out", 1, slower);
    // The load of nulls changed with it, so drop is run again too.
    CHECK(second.trained ==
          std::vector<std::string>{"nulls, seed 0", "drop, seed 0", "nulls, seed 3", "drop, seed 3"});
    CHECK(second.csv != first.csv);
    for (const char* seed : {"0", "3"}) {
        const CompareRun nulls = read_compared_run(world.path("out"), std::string("nulls-") + seed, 0);
        const std::string config = whole_file(world.path(std::string("out/drop-") + seed + "/config.toml"));
        const double load = std::clamp(nulls.measures.at("load").value, 1.0, 2.0);
        CHECK(config.find(format("router.options = \"load={}\"", load)) != std::string::npos);
    }
    world.write("train.jsonl",
                whole_file(world.path("train.jsonl")) + "{\"prompt\":\"quiz :\",\"completion\":\" Riga\"}\n");
    CHECK(compare_in(world, "out", 1, slower).trained.size() == 6);
    world.write("questions.jsonl",
                whole_file(world.path("questions.jsonl")) +
                    "{\"question\":\"quiz :\",\"choices\":[\"Riga\",\"Turin\"],\"answer\":0}\n");
    CHECK(compare_in(world, "out", 1, slower).trained.size() == 7);
}

TEST_CASE("compare: mistakes in the file are named with their place") {
    const std::string good = "[base]\nmodel.path = \"m\"\n[eval]\nquestions = \"q\"\n[[arm]]\nname = \"a\"\n";
    CHECK(complaint(good).empty());
    const auto says = [&](const std::string& more, const std::vector<std::string>& words) {
        const std::string text = complaint(good + more);
        INFO(text);
        for (const std::string& word : words) CHECK(text.find(word) != std::string::npos);
    };
    says("router.top_kk = 1\n", {"arms.toml:7:", "`router.top_kk`", "did you mean `router.top_k`"});
    says("[arm.optim]\nlearning_rate = 1\n", {"arms.toml:8:", "`optim.learning_rate`"});
    says("router.top_k = \"two\"\n", {"arms.toml:7:", "router.top_k", "\"two\""});
    says("train.seed = 3\n", {"arms.toml:7:", "seeds"});
    says("output.dir = \"x\"\n", {"arms.toml:7:", "--out"});
    says("model.path = \"x\"\n", {"arms.toml:7:", "[base]"});
    says("load_of = \"b\"\n", {"arms.toml:6:", "above this one"});
    says("[[arm]]\nname = \"a\"\n", {"arms.toml:8:", "once"});
    says("[[arm]]\nname = \"../a\"\n", {"arms.toml:8:", "letters"});
    says("[[arm]]\nname = \"base\"\n", {"arms.toml:8:"});
    says("adapter.method = \"random_dropp\"\n", {"arms.toml:7:", "random_drop"});
    // Keys of the comparison itself: place and key of a value that is none, and their own names as a guess.
    says("control = \"yes\"\n", {"arms.toml:7:", "control", "true or false", "\"yes\""});
    says("length = \"half\"\n", {"arms.toml:7:", "length", "\"half\""});
    says("picks = -1\n", {"arms.toml:7:", "picks", "\"-1\""});
    says("contrl = true\n", {"arms.toml:7:", "did you mean `control`"});
    says("[[task]]\nname = \"t\"\nquestion = \"q\"\n", {"arms.toml:9:", "did you mean `questions`"});
    says("[[task]]\nname = \"t\"\nlimit = \"all\"\n", {"arms.toml:9:", "limit", "\"all\""});
    const auto alone = [&](const std::string& toml, const char* word) {
        INFO(complaint(toml));
        CHECK(complaint(toml).find(word) != std::string::npos);
    };
    alone("[base]\nmodel.paths = \"m\"\n", "arms.toml:2:");
    alone("[eval]\nquestion = \"m\"\n", "arms.toml:2:");
    alone("seed = [1]\n", "arms.toml:1:");
    alone("seeds = [0, \"a\"]\n", "arms.toml:1:9: seeds");
    alone("seeds = [0, 1.5]\n", "arms.toml:1:9: seeds");
    alone("\nrates = [\"x\"]\n", "arms.toml:2:9: rates");
    alone("seeds = [1, 1]\n[eval]\nquestions = \"q\"\n[[arm]]\nname = \"a\"\n", "1 twice");
    alone("[eval]\nquestions = \"q\"\n", "[[arm]]");
    alone("[[arm]]\nname = \"a\"\n", "eval.questions");
    alone("[base\n", "arms.toml:");
}

TEST_CASE("compare: one seed is Student's t over the items, paired differences included") {
    const ItemsBySeed a{{1, 0, 1, 1, 0, 1}}, b{{0, 0, 1, 0, 0, 1}};
    const Estimate e = paired_over_items_and_seeds(a, b);
    // Differences 1 0 0 1 0 0: mean 1/3, s = sqrt(4/15), t(5) = 2.57058.
    CHECK(e.value == doctest::Approx(1.0 / 3));
    CHECK(e.high - e.value == doctest::Approx(2.57058 * std::sqrt(4.0 / 15 / 6)));
    CHECK(sign_of(e) == 0);
    CHECK(paired_over_items_and_seeds(a, a).high == 0);
    CHECK_THROWS_AS(paired_over_items_and_seeds(a, {{1, 0}}), Error);
    CHECK_THROWS_AS(mean_over_items_and_seeds({{1, 0}, {1, 0, 1}}), Error);
}

TEST_CASE("compare: two and more seeds, an analysis of variance by hand") {
    // Rows are seeds. Items' means 1 2 3, seeds' means 1.5 2.5, nothing left over: additive.
    const ItemsBySeed additive{{0.5, 1.5, 2.5}, {1.5, 2.5, 3.5}};
    const Estimate e = mean_over_items_and_seeds(additive);
    // MS_items = 2 * 2 / 2 = 2, MS_seeds = 3 * 0.5 / 1 = 1.5, MS_rest = 0; df = 3.5^2 / (2^2/2 + 1.5^2/1) = 2.88
    CHECK(e.value == doctest::Approx(2));
    CHECK(e.high - e.value == doctest::Approx(4.30265 * std::sqrt(3.5 / 6)));
    CHECK(e.n == 3);
    CHECK(mean_over_items_and_seeds({{1, 1}, {1, 1}}).high == 1);
}

TEST_CASE("compare: 95 % intervals over items and seeds hold the truth 95 times of 100") {
    Random random(4);
    for (const auto& [of_items, of_seeds, rest] :
         {std::tuple{1.0, 0.0, 0.5}, std::tuple{0.3, 0.3, 1.0}, std::tuple{1.0, 0.1, 0.1}}) {
        int held = 0;
        constexpr int times = 1000;
        for (int n = 0; n < times; ++n) {
            ItemsBySeed x(3, std::vector<double>(40));
            std::vector<double> item(40);
            for (double& value : item) value = of_items * random.next_normal();
            for (auto& row : x) {
                const double seed = of_seeds * random.next_normal();
                for (std::size_t i = 0; i < row.size(); ++i)
                    row[i] = item[i] + seed + rest * random.next_normal();
            }
            held += mean_over_items_and_seeds(x).holds(0);
        }
        CAPTURE(of_seeds);
        CHECK(held > 0.93 * times);
        CHECK(held < 0.995 * times);
    }
}

TEST_CASE("compare: the words say what the intervals say") {
    const ComparedPair better{"a", "b", "acc", {0.1, 0.05, 0.15, 9}},
        lower{"a", "b", "nll", {-0.1, -0.2, -0.01, 9}}, neither{"a", "b", "nll", {-0.1, -0.2, 0.01, 9}};
    CHECK(better.says() == "a is better than b by accuracy");
    CHECK(lower.says() == "a is better than b by nll of the right answers");
    CHECK(neither.says() == "a and b cannot be told apart by nll of the right answers");
    CHECK(moegrad::detail::difference_of({better}, "b", "a", "acc").better() == -1);
    CHECK(moegrad::detail::difference_of({better}, "a", "b", "acc").better() == 1);
}

TEST_CASE("compare: a file that is read when all has trained is missed before anything trains") {
    const TinyWorld world;
    const auto missing = [&](const char* file) {
        fs::rename(world.path(file), world.path("away"));
        std::vector<std::string> begun;
        CompareSpec spec = parse_compare_toml(world.recipe(), "arms.toml").tasks.front();
        spec.output = world.path("out");
        std::string text;
        try {
            run_compare<float>(spec, Counter{&begun});
        } catch (const Error& error) {
            text = error.what();
        }
        fs::rename(world.path("away"), world.path(file));
        CHECK(begun.empty());
        return text.find(file) != std::string::npos;
    };
    CHECK(missing("heldout.jsonl"));
    CHECK(missing("questions.jsonl"));
    CHECK(missing("train.jsonl"));
}

TEST_CASE("assay: too few documents are told from a base that hardly notices") {
    // Costs of 0.05 and 0.3 are wanted: shown, not shown either way, shown to be less.
    Assay assay;
    assay.top1 = {0.064, 0.051, 0.077, 400}, assay.random = {5.5, 5.1, 6.0, 400};
    CHECK(assay.passed());
    CHECK_FALSE(assay.undecided());
    assay.top1 = {0.064, 0.018, 0.110, 20};
    CHECK_FALSE(assay.passed());
    CHECK(assay.undecided());
    CHECK(assay_text(assay).find("so few documents") != std::string::npos);
    assay.random = {0.2, 0.1, 0.29, 20};  // one that is shown to be too little decides
    CHECK_FALSE(assay.undecided());
    CHECK(assay_text(assay).find("hardly notices") != std::string::npos);
}

TEST_CASE("assay: costs of changed routers per token, and the routers put back") {
    const ModelConfig config = test::small_config(ModelFamily::mixtral, 16, 24);
    const auto model = test::small_model<float>(config);
    const auto documents = test::ragged_samples(9, config.vocab_size, 5, 30);
    Context context({.device = Device::cpu, .threads = 2});
    const auto before = nll_of_documents(context, *model, documents);
    const Assay assay = run_assay(context, *model, documents);
    CHECK(nll_of_documents(context, *model, documents) == before);
    double sum = 0, tokens = 0;
    for (std::size_t i = 0; i < documents.size(); ++i) {
        sum += before[i];
        tokens += static_cast<double>(documents[i].supervised());
    }
    CHECK(assay.nll == doctest::Approx(sum / tokens));
    CHECK(assay.tokens == static_cast<Index>(tokens));
    // Forced top-1 by hand.
    for (auto& layer : model->layers())
        layer.moe[0].router = TopKRouter<float>{.gate = Gate<float>(layer.moe[0].gate), .k = 1};
    double other = 0;
    for (double value : nll_of_documents(context, *model, documents)) other += value;
    CHECK(assay.top1.value == doctest::Approx((other - sum) / tokens));
    CHECK(assay.random.value != assay.random_equal.value);
    CHECK(assay.top1.low <= assay.top1.value);
    CHECK_FALSE(assay.passed());  // an untrained base: nothing to find
    CHECK(assay_text(assay).find("NO GROUND") != std::string::npos);
}
