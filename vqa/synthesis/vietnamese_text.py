"""Lines of Vietnamese as people write them by hand: notes, letters, lists, addresses, records, proverbs.

Sentences written for this project and templates filled with common names, places, dates and amounts; all in
Unicode NFC. Any likeness of a person is chance.
"""

import random
import unicodedata

from vqa.synthesis.vietnamese_sentences import SENTENCES

_FAMILY = ("Nguyễn Trần Lê Phạm Hoàng Huỳnh Phan Vũ Võ Đặng Bùi Đỗ Hồ Ngô Dương Lý Đinh Trịnh Mai Tô").split()
_MIDDLE = (
    "Văn Thị Hữu Đức Minh Ngọc Thanh Quốc Thu Xuân Gia Kim Hồng Bảo Anh Tuấn Phương Diệu Khánh Như".split()
)
_GIVEN = (
    "An Bình Châu Cường Dũng Duyên Đạt Giang Hà Hạnh Hải Hiếu Hoa Hùng Hương Khoa Lan Linh Long "
    "Ly Mai Mỹ Nam Nga Nghĩa Ngân Nhung Oanh Phúc Phượng Quân Quỳnh Sơn Tâm Thảo Thắng Thuỷ Tiến "
    "Trang Trí Tú Uyên Vân Việt Vy Yến"
).split()
_STREETS = (
    "Trần Hưng Đạo;Lê Lợi;Nguyễn Trãi;Hai Bà Trưng;Lý Thường Kiệt;Phan Đình Phùng;Quang Trung;"
    "Điện Biên Phủ;Ngô Quyền;Bạch Đằng;Hoàng Diệu;Nguyễn Thị Minh Khai;Cách Mạng Tháng Tám;"
    "Tôn Đức Thắng;Võ Văn Kiệt;Hàng Bông"
).split(";")
_PLACES = (
    "quận 3, TP. Hồ Chí Minh;quận Đống Đa, Hà Nội;TP. Huế;quận Hải Châu, Đà Nẵng;"
    "TP. Đà Lạt, Lâm Đồng;TP. Vinh;huyện Củ Chi;thị xã Sơn Tây;TP. Mỹ Tho, Tiền Giang;"
    "TP. Buôn Ma Thuột;quận Ninh Kiều, Cần Thơ;TP. Quy Nhơn;huyện Đông Anh;TP. Thái Nguyên;"
    "TP. Rạch Giá, Kiên Giang;huyện Yên Định, Thanh Hoá"
).split(";")
_THINGS = (
    "gạo tẻ;nước mắm;trứng gà;thịt bò;cà chua;rau cải;đậu phụ;bánh mì;khoai tây;sữa tươi;dầu ăn;"
    "xà phòng;giấy vở;bút bi;chuối tiêu;xoài cát;cá thu;tỏi Lý Sơn;chè Thái Nguyên;hạt điều;"
    "bột giặt;đường phèn"
).split(";")
_UNITS = "kg;gói;chục;bó;chai;hộp;túi;lạng".split(";")
_DRUGS = "Paracetamol;Amoxicillin;Vitamin C;Omeprazol;Cetirizin;Berberin;Ibuprofen;Oresol".split(";")
_WEEKDAYS = "thứ hai;thứ ba;thứ tư;thứ năm;thứ sáu;thứ bảy;chủ nhật".split(";")
_JOBS = (
    "giáo viên;kỹ sư xây dựng;y tá;thợ may;công nhân;kế toán;tài xế;nông dân;bộ đội;học sinh;dược sĩ;thợ mộc"
).split(";")
_TEMPLATES = (
    "Họ và tên: {name}",
    "Sinh ngày {day} tháng {month} năm {year}",
    "Địa chỉ: số {number} đường {street}",
    "Số {number}, {street}, {place}",
    "Nơi sinh: {place}",
    "Nghề nghiệp: {job}",
    "Số điện thoại: {phone}",
    "Người nhận: {name}, {phone}",
    "{place}, ngày {day} tháng {month} năm {year}",
    "Ngày {day}/{month}/{year}, giao {count} {unit} {thing}",
    "{count} {unit} {thing}: {price} đồng",
    "Mua {count} {unit} {thing} và {other} {unit2} {thing2}",
    "Tổng cộng: {price} đồng chẵn",
    "Tôi là {name}, hiện là {job}.",
    "Bác {given} nhờ mua giúp {count} {unit} {thing}.",
    "Cô {given} dặn {weekday} nộp bài trước {hour} giờ.",
    "Hẹn gặp anh {given} {weekday} lúc {hour} giờ {minute}.",
    "{weekday_up} tuần tới họp lớp ở nhà {given}.",
    "Bệnh nhân {name}, {age} tuổi",
    "{drug} {dose} mg, ngày {times} lần, mỗi lần 1 viên",
    "Cân nặng {weight} kg, chiều cao {height} cm",
    "Mạch {pulse} lần/phút, nhiệt độ 37,{tenth} độ",
    "Đã thu của ông {name} số tiền {price} đồng.",
    "Kính gửi: Uỷ ban nhân dân {place}",
    "Học sinh {name}, lớp {grade}{letter}",
    "Lớp {grade}{letter} vắng {times} bạn, có phép.",
    "Em {given} ơi, chị gửi {thing} ở nhà bác {given2} nhé.",
    "Thân gửi bạn {given} ở {place}",
)


def vietnamese_line(rng: random.Random, longest: int = 58) -> str:
    """One line of Vietnamese in NFC, of at most `longest` characters.

    A sentence, a filled-in template, or a piece of a paragraph, cut between words as where lines end.
    """
    form = rng.choice(["sentence", "filled", "filled", "piece"])
    words = (_filled(rng) if form == "filled" else rng.choice(SENTENCES)).split()
    if form == "piece":
        words = (words + rng.choice(SENTENCES).split())[rng.randrange(len(words)) :]
        longest = rng.randint(20, longest)
    while len(" ".join(words)) > longest:
        words.pop()
    return unicodedata.normalize("NFC", " ".join(words))


def _filled(rng: random.Random) -> str:
    weekday = rng.choice(_WEEKDAYS)
    return rng.choice(_TEMPLATES).format(
        name=f"{rng.choice(_FAMILY)} {rng.choice(_MIDDLE)} {rng.choice(_GIVEN)}",
        given=rng.choice(_GIVEN),
        given2=rng.choice(_GIVEN),
        street=rng.choice(_STREETS),
        place=rng.choice(_PLACES),
        number=f"{rng.randint(1, 480)}{rng.choice(['', '', 'A', 'B', f'/{rng.randint(1, 60)}'])}",
        phone=f"0{rng.choice('35789')}{rng.randint(0, 9)} {rng.randint(100, 999)} {rng.randint(1000, 9999)}",
        job=rng.choice(_JOBS),
        thing=rng.choice(_THINGS),
        thing2=rng.choice(_THINGS),
        unit=rng.choice(_UNITS),
        unit2=rng.choice(_UNITS),
        count=rng.randint(1, 30),
        other=rng.randint(1, 30),
        price=f"{rng.randint(5, 4900):,}.000".replace(",", "."),
        day=rng.randint(1, 28),
        month=rng.randint(1, 12),
        year=rng.randint(1950, 2025),
        weekday=weekday,
        weekday_up=weekday.capitalize(),
        hour=rng.randint(5, 21),
        minute=f"{rng.randrange(0, 60, 5):02d}",
        age=rng.randint(3, 90),
        drug=rng.choice(_DRUGS),
        dose=rng.choice([10, 20, 100, 250, 500]),
        times=rng.randint(1, 4),
        weight=rng.randint(12, 90),
        height=rng.randint(85, 185),
        pulse=rng.randint(58, 118),
        tenth=rng.randint(0, 9),
        grade=rng.randint(1, 12),
        letter=rng.choice("ABCDE"),
    )
