"""Sentences of everyday Vietnamese, written for this project but for the proverbs among them."""

SENTENCES = """
Hôm nay trời mưa to nên con không đi đá bóng được.
Mẹ dặn con nhớ mang áo mưa khi đi học.
Chiều nay cả nhà mình về quê thăm bà ngoại.
Em đã làm xong bài tập toán và bài tập tiếng Việt.
Con mèo nhà em rất thích nằm phơi nắng trước hiên.
Bố em là thợ điện, ngày nào cũng về muộn.
Ông nội kể chuyện ngày xưa rất hay.
Sáng nào bà cũng dậy sớm tưới rau ngoài vườn.
Quyển sách này em mượn của thư viện trường.
Cuối tuần lớp mình đi tham quan bảo tàng.
Chị gái tôi đang học năm thứ hai ngành dược.
Mùa hè ở miền Trung nắng gắt và gió Lào rất khô.
Những cánh đồng lúa chín vàng trải dài đến chân núi.
Tiếng ve kêu râm ran báo hiệu mùa thi đã đến.
Dòng sông quê tôi chảy hiền hoà qua những bãi ngô.
Phiên chợ sáng đông vui, người mua kẻ bán tấp nập.
Nhớ mua thêm nước mắm, hành khô và một ký đường.
Anh để chìa khoá dưới chậu hoa trước cửa nhé.
Cảm ơn cô đã giúp đỡ em trong suốt năm học vừa qua.
Kính gửi Ban giám hiệu nhà trường.
Em viết đơn này xin phép được nghỉ học một ngày.
Tôi xin cam đoan những lời khai trên là đúng sự thật.
Kính mong quý cơ quan xem xét và giải quyết.
Tôi xin chân thành cảm ơn.
Người làm đơn ký và ghi rõ họ tên.
Bệnh nhân tỉnh, tiếp xúc tốt, da niêm mạc hồng.
Bệnh nhân đau bụng âm ỉ vùng thượng vị hai ngày nay.
Uống thuốc sau khi ăn, tránh đồ cay và nước có ga.
Tái khám sau hai tuần hoặc khi có dấu hiệu bất thường.
Huyết áp ổn định, nhịp tim đều, không sốt.
Kê đơn ngày uống hai lần, mỗi lần một viên.
Phổi trong, không nghe thấy tiếng ran.
Vết mổ khô, đã cắt chỉ, ăn uống bình thường.
Chẩn đoán: viêm họng cấp, theo dõi thêm ở nhà.
Tiền sử dị ứng với kháng sinh nhóm penicillin.
Cuộc họp bắt đầu lúc tám giờ sáng tại phòng lớn.
Các thành viên có mặt đầy đủ và đúng giờ.
Biên bản được lập thành hai bản có giá trị như nhau.
Hai bên thống nhất nội dung và cùng ký tên.
Bên bán giao hàng đúng hẹn, đủ số lượng.
Số tiền còn lại sẽ thanh toán vào tháng sau.
Đã nhận đủ tiền, không còn thắc mắc gì.
Nhà cho thuê, có gác lửng, gần chợ và trường học.
Xe máy cũ, còn tốt, giấy tờ đầy đủ.
Quán nghỉ bán ba ngày, mong quý khách thông cảm.
Vui lòng để giày dép bên ngoài.
Xin giữ trật tự trong phòng đọc.
Cấm đỗ xe trước cổng.
Công cha như núi Thái Sơn.
Nghĩa mẹ như nước trong nguồn chảy ra.
Uống nước nhớ nguồn.
Có công mài sắt, có ngày nên kim.
Gần mực thì đen, gần đèn thì sáng.
Một cây làm chẳng nên non.
Ba cây chụm lại nên hòn núi cao.
Tốt gỗ hơn tốt nước sơn.
Đi một ngày đàng, học một sàng khôn.
Bầu ơi thương lấy bí cùng.
Tuy rằng khác giống nhưng chung một giàn.
Lời nói chẳng mất tiền mua.
Lựa lời mà nói cho vừa lòng nhau.
Chim có tổ, người có tông.
Kiến tha lâu cũng đầy tổ.
Ăn quả nhớ kẻ trồng cây.
Lá lành đùm lá rách.
Cái nết đánh chết cái đẹp.
Học thầy không tày học bạn.
Nước chảy đá mòn.
Giấy rách phải giữ lấy lề.
Thuốc đắng giã tật, sự thật mất lòng.
Trâu chậm uống nước đục.
Xa mặt cách lòng.
Sông có khúc, người có lúc.
Bạn ơi, tối nay nhớ gọi cho mình nhé!
Chúc mừng sinh nhật em, chúc em luôn vui và khoẻ!
Chúc mừng năm mới, vạn sự như ý!
Lâu lắm rồi mình không gặp, dạo này cậu thế nào?
Bao giờ thì tàu đến ga Huế?
Bạn có thể chỉ cho tôi đường ra bến xe không?
Cho tôi một bát phở tái, không hành.
Hai cà phê sữa đá, một trà chanh mang về.
Bún chả ở đầu ngõ ngon hơn quán cũ.
Công thức: ba quả trứng, hai thìa đường, một ít muối.
Luộc gà với gừng và hành nướng cho thơm.
Ướp thịt với tỏi, tiêu và dầu hào trong một giờ.
Đun nhỏ lửa đến khi nước sôi lăn tăn.
Gạo nếp ngâm qua đêm, đỗ xanh đãi sạch vỏ.
Khoai lang nướng thơm lừng cả góc phố.
Trăng rằm sáng vằng vặc trên mái đình.
Gió mùa đông bắc tràn về, trời rét đậm.
Mưa phùn lất phất suốt cả tuần lễ.
Hoa đào nở rộ khắp các sườn núi phía Bắc.
Biển lặng, thuyền đánh cá trở về lúc bình minh.
Con đường làng rợp bóng tre xanh.
Đàn trâu thong thả gặm cỏ bên bờ đê.
Cây đa đầu làng đã hơn trăm tuổi.
Ngọn hải đăng nhấp nháy ngoài khơi xa.
Thác nước đổ trắng xoá giữa rừng già.
Ruộng bậc thang đẹp nhất vào mùa nước đổ.
Chùa nằm trên đỉnh đồi, phải leo hơn trăm bậc đá.
Cây cầu mới giúp dân hai xã đi lại thuận tiện.
Xe buýt số ba mươi hai chạy qua cổng bệnh viện.
Chuyến bay bị hoãn vì sương mù dày đặc.
Giá xăng tăng nhẹ từ chiều hôm qua.
Đội tuyển thắng hai không ngay trên sân khách.
Thư viện mở cửa từ bảy giờ đến mười bảy giờ.
Em thích nhất môn lịch sử và môn vẽ.
Thầy giáo giảng bài chậm, dễ hiểu và rất vui tính.
Bài văn của em còn mắc nhiều lỗi chính tả.
Nét chữ nết người, em phải rèn chữ mỗi ngày.
Tổ hai trực nhật, nhớ lau bảng và tắt quạt.
Ngày mai kiểm tra chương ba, mang theo thước kẻ.
Diện tích hình chữ nhật bằng chiều dài nhân chiều rộng.
Nước sôi ở một trăm độ, đóng băng ở không độ.
Cây xanh hút khí cacbonic và nhả khí oxy.
Trái Đất quay quanh Mặt Trời hết một năm.
Mỗi ngày em đọc sách nửa tiếng trước khi ngủ.
Bữa cơm chiều có cá kho, rau muống và canh chua.
Bà may cho cháu chiếc áo len màu đỏ.
Chú chó vẫy đuôi mừng rỡ khi chủ về.
Đồng hồ treo tường chạy chậm mười phút.
Máy giặt hỏng rồi, gọi thợ đến sửa giúp em.
Tiền điện tháng này cao hơn tháng trước.
Khoá cửa cẩn thận trước khi đi ngủ.
Nhớ tưới cây và cho cá ăn khi bố mẹ vắng nhà.
Gửi anh bản vẽ, có gì chưa rõ thì gọi em.
Hàng dễ vỡ, xin nhẹ tay.
Đề nghị kiểm tra kỹ trước khi ký nhận.
Ý kiến của phụ huynh và chữ ký.
Nguyện vọng: được làm việc gần nhà.
Kỷ luật tốt, có tinh thần trách nhiệm cao.
Quỹ lớp còn dư, chuyển sang học kỳ sau.
Ưu tiên người già, phụ nữ có thai và trẻ nhỏ.
Phường tổ chức tiêm phòng cho trẻ dưới sáu tuổi.
Hộ khẩu thường trú và nơi ở hiện nay.
Giữ gìn vệ sinh chung là trách nhiệm của mỗi người.
Đêm qua mất điện nên cả xóm ra sân hóng mát.
Vườn nhà có bưởi, nhãn, ổi và một giàn mướp.
Lũ trẻ chạy ùa ra sân khi nghe tiếng trống.
Người thợ gốm xoay bàn, nặn chiếc bình thật khéo.
Cụ già chống gậy chậm rãi bước lên bậc thềm.
Mặt hồ phẳng lặng như gương, in bóng hàng liễu.
Khu phố cổ về đêm lung linh ánh đèn lồng.
Tôi vẫn giữ những bức thư cũ của bà.
Thời gian trôi nhanh quá, thoắt cái đã hết năm.
Đừng quên chụp ảnh kỷ niệm với cả lớp.
Mong sớm nhận được thư trả lời của anh.
Thương nhớ và hôn cả nhà.
""".strip().splitlines()
