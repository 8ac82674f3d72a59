//! What generated messages say, already escaped for a JSON string.

/// Whole sentences, Chinese and English, some with characters that JSON must escape and some beyond the basic plane.
pub(super) const PHRASES: [&str; 24] = [
    "早上好，今天的会议改到下午三点。",
    "The shipment left Ningbo yesterday. ",
    "请把上个月的对账单发给我，谢谢！",
    "Could you look at the last invoice? ",
    "客户确认了报价，合同明天寄出。",
    "OK 👍 ",
    "收到。",
    "我在路上，大概十分钟后到。",
    "Line one\\nline two\\n",
    "他说：\\\"先不要发布\\\"，等审核通过再说。",
    "Path is C:\\\\export\\\\2026. ",
    "订单号 20261122-0091，数量 320 件，请安排仓库备货。",
    "Running late, start without me. ",
    "这个问题我们内部讨论一下，明天上午给您答复。",
    "😀😀 太好了！",
    "Please sign page 3 and send it back. ",
    "附件里是最新的设计稿，麻烦看一下第二页的配色。",
    "See https://www.example.com/a?b=1&c=2 for details. ",
    "发票抬头：杭州某某科技有限公司，税号稍后补充。",
    "No problem. ",
    "周末一起吃饭吗？老地方，六点半。",
    "The build is green again. ",
    "价格还能再优惠一点吗？我们的量比较大。",
    "\\u4f60\\u597d, tab\\there. ",
];

/// What extensions and custom messages are about.
pub(super) const TOPICS: [&str; 6] = ["order", "订单", "refund", "排班", "support", "审批"];
