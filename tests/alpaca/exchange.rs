//! A fake of Alpaca that keeps orders: it enforces the `client_order_id`, and replaces an order that is changed.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use lanekeeper::jiff::Timestamp;
use serde_json::{Value, json};

use super::server::{ReceivedRequest, Reply, Server, json as answer};

/// What becomes of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    /// The request is taken, and answered with 504.
    TakenThen504,
    /// The request is taken, and the connection is closed.
    TakenThenCut,
    /// As `TakenThen504`, and the order book shows the order only after this many reads.
    TakenAndHidden(usize),
    /// Something on the way sends the request twice, and passes on the second answer.
    SentTwice,
    /// The request is lost, and answered with 502.
    LostAs502,
    /// The request is lost, and the connection is closed.
    LostByCut,
    /// The request is refused because calls come too fast.
    Throttled,
    /// The request is refused for a reason of its own.
    Rejected,
    /// The request is refused with the code of a duplicate, for another reason.
    RefusedWithThatCode,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) orders: Vec<Value>,
    /// What becomes of the next writes. After that, all are done.
    pub(crate) fates: VecDeque<Fate>,
    /// Whether each of the next reads fails. After that, none does.
    pub(crate) blind: VecDeque<bool>,
    /// For how many more reads the order book does not show an order, by its id.
    hidden: HashMap<String, usize>,
    /// How often prices were requested: they move with it.
    ticks: usize,
    /// How many placements arrived.
    pub(crate) placements: usize,
}

/// The orders, shared with the server.
#[derive(Clone, Default)]
pub(crate) struct Exchange(Arc<Mutex<State>>);

impl Exchange {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn server(&self) -> Server {
        let exchange = self.clone();
        Server::new(move |request| exchange.answer(request))
    }

    pub(crate) fn fates(&self, fates: impl IntoIterator<Item = Fate>) {
        self.state().fates.extend(fates);
    }

    pub(crate) fn answer(&self, request: &ReceivedRequest) -> Reply {
        let mut state = self.state();
        if request.method == "GET" {
            if state.blind.pop_front() == Some(true) {
                return answer(503, r#"{"message":"unavailable"}"#);
            }
            return state.read(request);
        }
        let fate = state.fates.pop_front().unwrap_or(Fate::Done);
        match fate {
            Fate::Done => state.write(request),
            Fate::TakenThen504 | Fate::TakenThenCut => {
                state.write(request);
                if fate == Fate::TakenThenCut { Reply::Close } else { answer(504, "") }
            }
            Fate::TakenAndHidden(reads) => {
                let before = state.orders.len();
                state.write(request);
                if state.orders.len() > before {
                    let id = state.orders[before]["id"].as_str().unwrap().to_owned();
                    state.hidden.insert(id, reads);
                }
                answer(504, "")
            }
            Fate::SentTwice => {
                state.write(request);
                state.write(request)
            }
            Fate::LostAs502 => answer(502, ""),
            Fate::LostByCut => Reply::Close,
            Fate::Throttled => answer(429, r#"{"message":"too many requests."}"#),
            Fate::RefusedWithThatCode => {
                answer(422, r#"{"code":40010001,"message":"qty is required"}"#)
            }
            Fate::Rejected => {
                answer(403, r#"{"code":40310000,"message":"insufficient buying power"}"#)
            }
        }
    }
}

impl State {
    fn read(&mut self, request: &ReceivedRequest) -> Reply {
        let found = |order: Option<&Value>| match order {
            Some(order) => answer(200, &order.to_string()),
            None => answer(404, r#"{"code":40410000,"message":"order not found"}"#),
        };
        match request.path.as_str() {
            "/v2/orders" => {
                let is_open = |order: &Value| order["status"] == "new";
                let only_open = request.query("status") == Some("open");
                let until = request.query("until").map(|text| text.parse::<Timestamp>().unwrap());
                let in_time = |order: &Value| {
                    let at: Timestamp = order["submitted_at"].as_str().unwrap().parse().unwrap();
                    until.is_none_or(|until| at < until)
                };
                let shown = self.orders.iter().filter(|it| !only_open || is_open(it));
                let is_hidden = |it: &Value| {
                    self.hidden.get(it["id"].as_str().unwrap()).is_some_and(|reads| *reads > 0)
                };
                let shown: Vec<&Value> = shown.filter(|it| in_time(it) && !is_hidden(it)).collect();
                let body = json!(shown).to_string();
                self.hidden.values_mut().for_each(|reads| *reads = reads.saturating_sub(1));
                answer(200, &body)
            }
            "/v2/stocks/snapshots" => {
                self.ticks += 1;
                let price = 180 + i64::try_from(self.ticks % 7).unwrap();
                let symbols = request.query("symbols").unwrap().split(',');
                let quote = |it: &str| (it.to_owned(), json!({"latestTrade": {"p": price}}));
                let quotes: serde_json::Map<String, Value> = symbols.map(quote).collect();
                answer(200, &Value::Object(quotes).to_string())
            }
            "/v2/positions" => answer(200, "[]"),
            "/v2/account" => answer(200, r#"{"status":"ACTIVE","buying_power":"100000"}"#),
            "/v2/orders:by_client_order_id" => {
                let tag = request.query("client_order_id").unwrap();
                found(self.orders.iter().find(|it| it["client_order_id"] == tag))
            }
            path => {
                let id = path.rsplit('/').next().unwrap();
                found(self.orders.iter().find(|it| it["id"] == id))
            }
        }
    }

    fn write(&mut self, request: &ReceivedRequest) -> Reply {
        let id = request.path.rsplit('/').next().unwrap().to_owned();
        let refusal = |code: u32, message: &str| {
            answer(422, &json!({"code": code, "message": message}).to_string())
        };
        match request.method.as_str() {
            "POST" => {
                self.placements += 1;
                let body = request.json();
                let tag = body["client_order_id"].clone();
                if self.orders.iter().any(|it| it["client_order_id"] == tag) {
                    return refusal(40010001, "client_order_id must be unique");
                }
                let mut order = body;
                order["asset_class"] = json!("us_equity");
                answer(200, &self.add(order).to_string())
            }
            "PATCH" => {
                let Some(at) = self.orders.iter().position(|it| it["id"] == id) else {
                    return answer(404, r#"{"code":40410000,"message":"order not found"}"#);
                };
                if self.orders[at]["status"] != "new" {
                    return refusal(42210000, "unable to replace order in current state");
                }
                let mut order = self.orders[at].clone();
                for (name, value) in request.json().as_object().unwrap() {
                    order[name] = value.clone();
                }
                order["client_order_id"] = json!(format!("made-{}", self.orders.len()));
                order["replaces"] = json!(id);
                let new = self.add(order);
                self.orders[at]["status"] = json!("replaced");
                self.orders[at]["replaced_by"] = new["id"].clone();
                answer(200, &new.to_string())
            }
            _ => match self.orders.iter_mut().find(|it| it["id"] == id) {
                Some(order) if order["status"] == "new" => {
                    order["status"] = json!("canceled");
                    answer(204, "")
                }
                Some(_) => refusal(42210000, "order is not cancelable"),
                None => answer(404, r#"{"code":40410000,"message":"order not found"}"#),
            },
        }
    }

    fn add(&mut self, mut order: Value) -> Value {
        order["id"] = json!(format!("order-{}", self.orders.len() + 1));
        order["status"] = json!("new");
        order["filled_qty"] = json!("0");
        order["replaced_by"] = Value::Null;
        order["submitted_at"] = json!(Timestamp::now().to_string());
        self.orders.push(order.clone());
        order
    }
}
