// Arms that are the trained runs of another one, changed and asked again; arms at a load; claims over such arms, end to end.

#include "support/routing_models.hpp"
#include "train/compare_world.hpp"

#include <moegrad/claims_toml.hpp>
#include <moegrad/compare_toml.hpp>

#include <moegrad/methods/all.hpp>
#include <moegrad/train/claims.hpp>
#include <moegrad/train/compare.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <set>

using namespace moegrad;
using test::TinyWorld;

namespace {

/// Every kind of change, on 3 steps of training.
std::string changed_recipe(const TinyWorld& world) {
    return world.recipe() +
           "[[arm]]\nname = \"mor\"\nadapter.method = \"mor\"\n"
           "[[arm]]\nname = \"zeroed\"\nof = \"mor\"\nchange = \"zero=1\"\n"
           "[[arm]]\nname = \"gw\"\nadapter.method = \"gw_moe\"\n"
           "[[arm]]\nname = \"gw_swapped\"\nof = \"gw\"\nchange = \"swap=0.5\"\n"
           "[[arm]]\nname = \"plain_swapped\"\nof = \"plain\"\nchange = \"swap=0.5\"\n"
           "[[arm]]\nname = \"routers\"\nadapter.method = \"router_tuning\"\nadapter.r = 8\n"
           "[[arm]]\nname = \"found\"\nof = \"routers\"\nchange = \"block=found, picks=1\"\n"
           "[[arm]]\nname = \"random\"\nof = \"routers\"\nchange = \"block=random, picks=1\"\n"
           "[[arm]]\nname = \"prefix\"\nadapter.method = \"top_p\"\nload = 1.5\n";
}

CompareResult changed_run(const TinyWorld& world, const std::string& recipe,
                          std::vector<std::string>& begun) {
    CompareSpec spec = parse_compare_toml(recipe, "arms.toml").tasks.front();
    spec.output = world.path("out");
    spec.threads = 1;
    begun.clear();
    return run_compare<float>(spec, [&](CompareNews news, const std::string& label, const std::string&) {
        if (news == CompareNews::begin) begun.push_back(label);
    });
}

std::string changed_complaint(const TinyWorld& world, const std::string& more) {
    try {
        check_compare(parse_compare_toml(world.recipe() + more, "arms.toml").tasks.front());
    } catch (const Error& error) {
        return error.what();
    }
    return "";
}

Claim changed_claim(const char* test, const char* a, const char* b, const char* metric = "nll") {
    Claim claim;
    claim.id = "x/y", claim.says = "s", claim.recipe = "r", claim.test = test;
    claim.a = a, claim.b = b, claim.metric = metric;
    return claim;
}

}  // namespace

TEST_CASE("change: what an arm can change, and what it cannot") {
    CHECK(parse_change("swap=0.77", "here").swap == 0.77);
    CHECK(parse_change("zero=0", "here").zero == 0);
    const ArmChange block = parse_change("block=found, picks=2", "here");
    CHECK(block.block == "found");
    CHECK(block.picks == 2);
    for (const char* wrong : {"", "swap=0.5, zero=1", "block=found", "block=best, picks=2", "picks=2",
                              "swap=0.5, picks=2", "swop=0.5", "zero=-1", "swap=high"}) {
        CAPTURE(wrong);
        CHECK_THROWS_WITH_AS(parse_change(wrong, "arms.toml:7"), doctest::Contains("arms.toml:7: change"),
                             Error);
    }
}

TEST_CASE("change: experts at random, every one as often, the same for the same seed") {
    const auto lists = random_experts(3000, 8, 2, 5);
    CHECK(lists == random_experts(3000, 8, 2, 5));
    CHECK(lists != random_experts(3000, 8, 2, 6));
    std::vector<double> count(8);
    for (const ExpertList& list : lists) {
        REQUIRE(list.size() == 2);
        CHECK(list[0] < list[1]);
        for (const Index e : list) count[static_cast<std::size_t>(e)] += 1;
    }
    // Binomial with n = 3000, p = 1/4: 750, and 5 deviations of 23.7.
    for (const double n : count) CHECK(std::abs(n - 750) < 119);
    CHECK_THROWS_AS(random_experts(2, 4, 5, 0), Error);
}

TEST_CASE("change: a zeroed sub-router gives every expert the same share") {
    const ModelConfig config = test::small_config(ModelFamily::mixtral);
    const auto model = test::small_model<double>(config);
    AdapterSpec spec;
    spec.method = Method::mor;
    spec.routers = 2;
    spec.targets = {"attention"};
    attach(*model, spec);
    auto& moe = model->layers().front().moe.front();
    const auto W = moe.gate->value();
    const auto batch = test::random_batch<double>(config.hidden_size, {40}, 4);
    zero_sub_router(*model, 1);
    const auto got = test::decide(moe.router, batch);
    // At the start a = (1/2, 1/2) and both sub-routers are the gate W; one of them says nothing now:
    // P_e = softmax(W x)_e / 2 + 1 / (2 E).
    for (Index t = 0; t < 40; ++t) {
        double sum = 0;
        std::vector<double> p;
        for (Index e = 0; e < 4; ++e) {
            double z = 0;
            for (Index d = 0; d < config.hidden_size; ++d) z += W.matrix()(e, d) * batch.x.matrix()(t, d);
            p.push_back(std::exp(z));
            sum += p.back();
        }
        for (double& value : p) value = value / sum / 2 + 1.0 / 8;
        const auto i = static_cast<std::size_t>(got.expert.matrix()(t, 0)),
                   j = static_cast<std::size_t>(got.expert.matrix()(t, 1));
        CHECK(p[i] == *std::max_element(p.begin(), p.end()));
        CHECK(got.weight.matrix()(t, 0) == doctest::Approx(p[i] / (p[i] + p[j])).epsilon(1e-9));
    }
    CHECK_THROWS_WITH_AS(zero_sub_router(*model, 2), doctest::Contains("0 to 1"), Error);
    CHECK_THROWS_WITH_AS(swap_uncertain(*model, 0.5), doctest::Contains("router of another kind"), Error);
    moe.router.get<MixtureRouter<double>>()->kind = MixtureKind::vote;
    CHECK_THROWS_WITH_AS(zero_sub_router(*model, 0), doctest::Contains("a vote"), Error);
    CHECK_THROWS_WITH_AS(try_change(*test::small_model<double>(config), {.block = "random", .picks = 4}),
                         doctest::Contains("one stays open"), Error);
    CHECK_THROWS_WITH_AS(zero_sub_router(*test::small_model<double>(config), 0),
                         doctest::Contains("router of another kind"), Error);
    CHECK_THROWS_WITH_AS(
        swap_uncertain(*test::small_model<double>(test::small_config(ModelFamily::llama)), 1),
        doctest::Contains("dense"), Error);
}

TEST_CASE("change: blocked are the experts that the run uses most, and no token gets them") {
    const TinyWorld world;
    CompareSpec spec = parse_compare_toml(world.recipe(), "arms.toml").tasks.front();
    spec.base.output = world.path("trained");
    set_config(spec.base, "adapter.method", "router_tuning", "test");
    set_config(spec.base, "adapter.r", "8", "test");
    set_config(spec.base, "train.steps", "30", "test");
    set_config(spec.base, "optim.lr", "0.3", "test");
    const Tokenizer tokenizer = load_tokenizer(world.path("model"));
    run_training<float>(spec.base, [](const std::string&) {});
    const RouterLens tuned = lens_on<float>(spec.base, tokenizer, world.path("trained/adapter")),
                     base = lens_on<float>(spec.base, tokenizer, "");
    const auto found = blocked_by<float>(parse_change("block=found, picks=1", ""), spec.base, tokenizer),
               original =
                   blocked_by<float>(parse_change("block=original, picks=1", ""), spec.base, tokenizer);
    CHECK(found != original);  // the training moved the routers far
    auto model = load_model<float>(world.path("model"));
    load_adapter(*model, world.path("trained/adapter"));
    apply_change(*model, parse_change("block=found, picks=1", ""), found);
    const Dataset data = load_text_data(spec.base, tokenizer).train;
    const auto picks = lens_picks(data.size(), 0);
    const RouterLens blocked = look_through(test::routing_context(), *model, data, picks);
    for (std::size_t l = 0; l < found.size(); ++l) {
        const auto& counts = tuned.layers[l].counts;
        const auto best = static_cast<std::size_t>(found[l].front());
        CHECK(counts[best] == *std::max_element(counts.begin(), counts.end()));
        CHECK(blocked.layers[l].counts[best] == 0);
        const auto& untuned = base.layers[l].counts;
        CHECK(untuned[static_cast<std::size_t>(original[l].front())] ==
              *std::max_element(untuned.begin(), untuned.end()));
    }
}

TEST_CASE("change: trained runs are asked again, kept, and asked anew when they or the change are others") {
    const TinyWorld world;
    std::vector<std::string> begun;
    const CompareResult result = changed_run(world, changed_recipe(world), begun);
    CHECK(begun.size() == 1 + 2 * 12);
    const auto arm = [&](const std::string& name) {
        return *std::find_if(result.arms.begin(), result.arms.end(),
                             [&](const ComparedArm& one) { return one.name == name; });
    };
    CHECK(arm("zeroed").method == "mor");
    for (const auto& [changed, from] : {std::pair{"zeroed", "mor"}, std::pair{"gw_swapped", "gw"},
                                        std::pair{"plain_swapped", "plain"}, std::pair{"found", "routers"}}) {
        CAPTURE(changed);
        CHECK(arm(changed).items("nll") != arm(from).items("nll"));
        CHECK(arm(changed).runs.front().loss.empty());
        CHECK(arm(from).runs.front().loss.size() == 3);
        CHECK(arm(from).runs.front().ask_seconds > 0);
        CHECK(arm(changed).measure("trainable")->value == arm(from).measure("trainable")->value);
    }
    CHECK(compare_speeds(result).find("zeroed") == std::string::npos);
    changed_run(world, changed_recipe(world), begun);
    CHECK(begun.empty());
    std::string other = changed_recipe(world);
    other.replace(other.find("zero=1"), 6, "zero=0");
    changed_run(world, other, begun);
    CHECK(begun == std::vector<std::string>{"zeroed, seed 0", "zeroed, seed 3"});
    other.replace(other.find("\"gw_moe\"\n"), 9, "\"gw_moe\"\noptim.lr = 0.02\n");
    changed_run(world, other, begun);
    CHECK(begun ==
          std::vector<std::string>{"gw, seed 0", "gw_swapped, seed 0", "gw, seed 3", "gw_swapped, seed 3"});
}

TEST_CASE("change: every kind of claim over arms that ran") {
    const TinyWorld world;
    std::vector<std::string> begun;
    const std::vector<CompareResult> tasks{changed_run(world, changed_recipe(world), begun)};
    Claim sensitive = changed_claim("better", "gw_swapped", "plain_swapped");
    sensitive.a_from = "gw", sensitive.b_from = "plain";
    Claim budget = changed_claim("off_budget", "nulls", "prefix");
    budget.budget = 1.5;
    const std::vector<Claim> claims{
        sensitive,
        budget,
        changed_claim("kept", "zeroed", "mor"),
        changed_claim("better", "random", "found"),
        changed_claim("sooner", "nulls", "plain"),
        changed_claim("less", "nulls", "plain", "ask_seconds"),
        changed_claim("less", "nulls", "plain", "step_seconds"),
    };
    std::vector<ClaimResult> results;
    for (const Claim& claim : claims) {
        check_claim(claim);
        results.push_back(measure_claim(claim, tasks));
    }
    judge_claims(claims, results);
    for (std::size_t i = 0; i < claims.size(); ++i) {
        const std::string text = claim_text(claims[i], results[i]);
        INFO(text);
        CHECK(std::isfinite(results[i].difference.value));
        CHECK(!results[i].verdict.empty());
    }
    CHECK(claim_text(claims[0], results[0]).find("(gw_swapped - gw) - (plain_swapped - plain), nll") !=
          std::string::npos);
    // Of the runs' own numbers, by hand.
    const auto load = [&](const char* arm, std::size_t s) {
        return *moegrad::detail::claimed_arm(tasks[0], budget, arm).runs[s].number("load");
    };
    CHECK(results[1].difference.value ==
          doctest::Approx((std::abs(load("nulls", 0) - 1.5) - std::abs(load("prefix", 0) - 1.5) +
                           std::abs(load("nulls", 1) - 1.5) - std::abs(load("prefix", 1) - 1.5)) /
                          2));
    CHECK_THROWS_WITH_AS(measure_claim(changed_claim("sooner", "zeroed", "plain"), tasks),
                         doctest::Contains("arms that train"), Error);
}

TEST_CASE("change: mistakes in the file are named with their place") {
    const TinyWorld world;
    const auto says = [&](const std::string& more, const char* word) {
        const std::string text = changed_complaint(world, more);
        INFO(text);
        CHECK(text.find(word) != std::string::npos);
        CHECK(text.find("arms.toml:") != std::string::npos);
    };
    const std::string arm = "[[arm]]\nname = \"x\"\n";
    says(arm + "of = \"nobody\"\nchange = \"zero=0\"\n", "above this one that trains");
    says(arm + "of = \"plain\"\n", "change = what is changed");
    says(arm + "change = \"zero=0\"\n", "above this one that trains");
    says(arm + "of = \"plain\"\nchange = \"zero=0\"\noptim.lr = 1\n", "more beside `of`");
    says(arm + "of = \"plain\"\nchange = \"zero=0\"\nload = 1\n", "more beside `of`");
    says(arm + "of = \"plain\"\nchange = \"swop=0\"\n", "swap=TAU");
    says(arm + "length = 0\n", "a length above zero");
    says(arm + "load = 1.5\nload_of = \"plain\"\n", "or load_of");
    says(
        arm + "of = \"plain\"\nchange = \"swap=1\"\n[[arm]]\nname = \"y\"\nof = \"x\"\nchange = \"swap=1\"\n",
        "above this one that trains");
    CHECK(changed_complaint(world, arm + "of = \"plain\"\nchange = \"swap=1\"\n").empty());
}

TEST_CASE("compare: the length of an arm follows train.steps of the base") {
    const TinyWorld world;
    CompareSpec spec =
        parse_compare_toml(world.recipe() + "[[arm]]\nname = \"long\"\nlength = 2.5\n", "arms.toml")
            .tasks.front();
    for (const auto& [base, want] : {std::pair{260, 650}, std::pair{13, 33}, std::pair{3, 8}}) {
        spec.base.steps = base;
        CHECK(run_config_of(spec, spec.arms.back(), 0, 0).steps == want);
        CHECK(run_config_of(spec, spec.arms.front(), 0, 0).steps == base);
    }
    spec.base.steps = 0;
    CHECK_THROWS_WITH_AS(check_compare(spec), doctest::Contains("train.steps in [base]"), Error);
}

TEST_CASE("claims: those that ship name arms of recipes that ship, and their tests can be made") {
    const std::string models = MOEGRAD_SOURCE_DIR "/models/";
    std::set<std::string> seen;
    for (const Claim& claim : read_claims(models + "claims.toml")) {
        CAPTURE(claim.id);
        CHECK(seen.insert(claim.id).second);
        CompareSpec spec = read_compare_toml(models + "recipes/" + claim.recipe).tasks.front();
        if (spec.questions.empty()) spec.questions = "world";
        CHECK_NOTHROW(check_compare(spec));
        for (const std::string& name : {claim.a, claim.b, claim.a_from, claim.b_from}) {
            const auto found = std::find_if(spec.arms.begin(), spec.arms.end(),
                                            [&](const CompareArm& one) { return one.name == name; });
            if (!name.empty()) CHECK(found != spec.arms.end());
        }
    }
    CHECK(seen.contains("adamoe/budget"));
}
